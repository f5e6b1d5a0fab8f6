# Every target makes `.venv` from requirements.lock first: README's commands need nothing but Python >= 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CHECK := .venv-check
export PYTHONDONTWRITEBYTECODE :=
PYTEST := $(BIN)/python -m pytest

.PHONY: help demo practice record test check bench chaos lock test-parts format clean
help: ## list the targets
	@grep -hE '^[a-z.-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

$(VENV): $(VENV)/.made
$(VENV)/.made: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Sitrep needs Python >= 3.11; $(PYTHON) is older. Set PYTHON=python3.12 or newer." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(BIN)/python -m ensurepip
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip uninstall -q -y --disable-pip-version-check setuptools pip # came with venv; nothing here needs them, and they weigh 14 MB
	@$(BIN)/python tools/link_checkout.py
	@touch $@

$(CHECK)/.made: requirements-check.lock
	@test -x $(CHECK)/bin/python || $(PYTHON) -m venv $(CHECK)
	$(CHECK)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-check.lock
	@touch $@

demo: $(VENV)/.made ## a recorded incident, a local Slack and the bot; ONCE=1 ends by itself, MODEL=local adds a model
	@$(BIN)/python -m demo $(if $(ONCE),--once) $(if $(MODEL),--model $(MODEL))

practice: $(VENV)/.made ## the demo's systems and a local Slack without the bot, to try the first day in (docs/quickstart.md)
	@$(BIN)/python -m demo.practice

record: $(VENV)/.made ## record the demo's incident again: eight minutes, needs git
	$(BIN)/python -m demo.record

test: $(VENV)/.made ## all tests but the slow matrices
	$(PYTEST) -q -n 2 --dist loadfile -m "not slow"

bench: $(VENV)/.made ## measure, compare with the bars, write .bench/latest.json
	$(BIN)/python -m tests.bench.run $(BENCHES)

check: $(VENV)/.made $(CHECK)/.made ## format, lint, types, import floors, wheel, dependencies
	$(CHECK)/bin/ruff format --check .
	$(CHECK)/bin/ruff check .
	$(CHECK)/bin/mypy --python-executable $(BIN)/python
	PYTHONPATH=.:$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') $(CHECK)/bin/lint-imports --no-cache
	$(CHECK)/bin/python tools/check_wheel.py
	$(BIN)/python tools/audit_dependencies.py

format: $(CHECK)/.made ## rewrite files in our format
	$(CHECK)/bin/ruff format .
	$(CHECK)/bin/ruff check --fix .

chaos: $(VENV)/.made ## SIGKILL at every point of an incident's way (some twenty-five minutes)
	$(PYTEST) -q tests/workflow

test-parts: ## install what the acceptance tests need on Debian (prometheus, alertmanager, chromium)
	@if command -v apt-get >/dev/null; then tools/install_parts.sh; else echo 'test-parts knows Debian only; install prometheus, alertmanager and chromium by hand' >&2; exit 3; fi

.PHONY: load
load: $(VENV)/.made ## a storm of webhooks against a started bot, its model slow, failing, hanging (some two minutes); prints JSON
	@$(BIN)/python -m tests.load.run $(if $(SECONDS),--seconds $(SECONDS)) $(if $(RATE),--rate $(RATE))

.PHONY: evals
evals: $(VENV)/.made ## golden cases of every prompt against the configured model, else a scripted endpoint; prints JSON
	@$(BIN)/python -m bot eval prompts --json

.PHONY: worlds
worlds: $(VENV)/.made ## who sees what in 500 workspaces at random, from the source to every outlet (two minutes)
	$(PYTEST) -q -m slow tests/unit/test_permission_outlets.py tests/unit/test_permission_shell.py

.PHONY: simulate
simulate: $(VENV)/.made ## how often a verdict is wrong, and what is found: the whole grid (under an hour on two cores); goes on where it was ended
	$(BIN)/python -m bot experiment simulate --resume .bench/simulate.jsonl
	$(PYTEST) -q -m slow tests/unit/test_experiment_worlds.py

.PHONY: redteam
redteam: $(VENV)/.made ## every attack in every field against an adversary; ATTACKS=file, WITHOUT=guard, JSON=1
	@$(BIN)/python -m tests.redteam $(if $(ATTACKS),--attacks "$(ATTACKS)") $(if $(WITHOUT),--without "$(WITHOUT)") $(if $(JSON),--json)

lock: ## renew both lock files
	uv pip compile -q --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --universal --group test pyproject.toml -o requirements.lock
	uv pip compile -q --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --universal --group check -o requirements-check.lock

clean: ## remove what make made
	rm -rf $(VENV) $(CHECK) .bench
