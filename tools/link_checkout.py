"""Make `sitrep` in this environment run the checkout: a path file and the command, as an editable install would.

Used by the Makefile instead of `pip install -e`, which would need a build backend from the network.
"""

import pathlib
import sys
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMAND = """#!{python}
import sys
from bot.cli import main
if __name__ == "__main__":  # a worker process imports this file again
    sys.exit(main())
"""


def main() -> None:
    site = pathlib.Path(sysconfig.get_path("purelib"))
    (site / "sitrep-checkout.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    command = pathlib.Path(sysconfig.get_path("scripts")) / "sitrep"
    command.write_text(COMMAND.format(python=sys.executable), encoding="utf-8")
    command.chmod(0o755)


if __name__ == "__main__":
    main()
