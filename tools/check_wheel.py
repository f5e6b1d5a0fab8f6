"""Build the wheel and run it where nothing of the checkout is: the command starts and the data files are inside."""

import pathlib
import subprocess
import sys
import tempfile
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(*command: str, cwd: pathlib.Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        run(sys.executable, "-m", "build", "-q", "--wheel", "--no-isolation", "-o", name, str(ROOT))
        (wheel,) = folder.glob("*.whl")
        clean = folder / "clean"
        venv.create(clean, with_pip=True)
        python = str(clean / "bin" / "python")
        run(
            python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes",
            "-r", str(ROOT / "requirements.lock"),
        )  # fmt: skip
        run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", str(wheel))
        said = run(str(clean / "bin" / "sitrep"), "--version", cwd=folder)
        run(str(clean / "bin" / "sitrep"), "--help", cwd=folder)
        run(python, "-c", "import prompts; prompts.models_text()", cwd=folder)
        print(f"wheel {wheel.name}: {said.strip()}")


if __name__ == "__main__":
    main()
