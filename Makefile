# Each target sets up what it needs. A Debian 12 with python3, python3-venv, make and git is enough to start from.

PYTHON ?= python3
BENCHES = codec mqtt tcp serial

.PHONY: demo test check bench bench-long fuzz venv clean

demo: venv
	.venv/bin/meterd demo

# The server with TimescaleDB is built once per user; packages to build it are installed if they are missing.
test: venv
	.venv/bin/python tests/servers/timescaledb.py >/dev/null
	.venv/bin/python -m pytest

check: venv
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

# Each prints its goals and whether they are reached.
bench: venv
	@for bench in $(BENCHES); do echo "== $$bench"; PYTHONPATH=. .venv/bin/python tests/bench/bench_$$bench.py; done

# Half an hour, half an hour, an hour; and 100,000 exchanges with faults.
bench-long: venv
	@echo "== terminals"; PYTHONPATH=. .venv/bin/python tests/bench/bench_terminals.py --hold-s 600
	@echo "== million"; PYTHONPATH=. .venv/bin/python tests/bench/bench_million.py
	@echo "== hour"; PYTHONPATH=. .venv/bin/python tests/bench/bench_hour.py
	@echo "== faults"; PYTHONPATH=. .venv/bin/python -m tests.bench.faults

# Coverage-guided, the same inputs for the same seed; about an hour for the whole number on one core.
FUZZ_RUNS ?= 10000000
FUZZ_SEED ?= 1
fuzz: venv
	mkdir -p .fuzz
	PYTHONPATH=. .venv/bin/python tests/fuzz/fuzz_dlt645.py -atheris_runs=$(FUZZ_RUNS) -seed=$(FUZZ_SEED) -timeout=5 -max_len=280 \
		-artifact_prefix=.fuzz/

venv: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .fuzz demo-data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
