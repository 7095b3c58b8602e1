# Each target sets up what it needs. A Debian 12 with python3, python3-venv, make and git is enough to start from.

PYTHON ?= python3
# Programs are started by the hundred here: what they import is compiled once, whatever the environment says.
export PYTHONDONTWRITEBYTECODE =
BENCHES = codec mqtt tcp serial judgement ledger ingest fleet day

# Most tests wait for a wire, a process or a clock, so a few more of them than there are cores run at once.
WORKERS ?= 5
# What is pure: no server, no socket but the loopback's.
QUICK = tests/unit tests/wire/dlt645 tests/wire/modbus tests/wire/mqtt/test_forms.py

FLOOR_QUALITY = 97
FLOOR_BILLING = 99
FLOOR_CONTROL = 100
FLOOR_CODECS = 92

.PHONY: alarms why panels faults guards orders simulate simulate-control simulate-control-real spoil-control spoil-readings utility simulate-daemon stories demo test rest test-all test-hours quick coverage check bench bench-long fuzz mutation venv lock sbom dashboards deb test-deb fuzz-dlt645 fuzz-formats clean

demo: venv
	.venv/bin/meterd demo

# The server with TimescaleDB is built once per user; packages to build it are installed if they are missing.
test: venv
	.venv/bin/python -m tests.servers.timescaledb >/dev/null
	.venv/bin/python -m pytest -n $(WORKERS) --dist loadgroup

# What `coverage` leaves out: after it, the suite has run once.
rest: venv
	.venv/bin/python -m tests.servers.timescaledb >/dev/null
	.venv/bin/python -m pytest -n $(WORKERS) --dist loadgroup $(QUICK:%=--ignore=%)

# Every test of the database on both servers, a break at each statement, all runs of the kill test, more stories, and new examples of each
# property, where `make test` takes the same ones each time.
test-all: venv
	.venv/bin/python -m tests.servers.timescaledb >/dev/null
	HYPOTHESIS_PROFILE=new STORIES=4 WHY_SEEDS=2 .venv/bin/python -m pytest -n $(WORKERS) --dist loadgroup --all-servers

# While one writes: the checks, and the tests that need no server, with few examples of each property.
quick: check
	HYPOTHESIS_PROFILE=dev .venv/bin/python -m pytest -q -n 2 $(QUICK)

# At the hours and in a zone where days begin and end; libfaketime is installed if it is missing.
test-hours: venv
	.venv/bin/python -m tests.servers.timescaledb >/dev/null
	.venv/bin/python -m tests.at_hours -n $(WORKERS) --dist loadgroup

# Branches of the pure rooms that no test takes. The floors may only rise.
coverage: venv
	.venv/bin/python -m pytest -q -n 2 --cov --cov-report= $(QUICK)
	.venv/bin/coverage report --include='daemon/quality/*' --fail-under=$(FLOOR_QUALITY)
	.venv/bin/coverage report --include='daemon/billing/*' --fail-under=$(FLOOR_BILLING)
	.venv/bin/coverage report --include='daemon/control/*' --fail-under=$(FLOOR_CONTROL)
	.venv/bin/coverage report --include='protocols/dlt645/*,protocols/modbus/*,protocols/mqtt/*,protocols/dial_in/*' \
		--fail-under=$(FLOOR_CODECS)

check: venv
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

# Seeded sites of a hundred points over ninety days, compared with what is true. Two processes, some minutes.
SEEDS ?= 200
simulate: venv
	PYTHONPATH=. .venv/bin/python tests/simulation/simulate.py $(SEEDS)

# What `make test` tries with few: facts in any order between decisions end on the same days. A quarter of an hour.
EXAMPLES ?= 20000
orders: venv
	EXAMPLES=$(EXAMPLES) .venv/bin/python -m pytest -q --timeout 0 tests/unit/quality/test_order.py -k between_barriers

# The judgement beside a second one that was written from the text of the rule: random cases of every kind of event.
second-opinion: venv
	EXAMPLES=$(or $(CASES),2000) .venv/bin/python -m pytest -q -n 2 tests/unit/quality/test_second_opinion.py

# Small sites under control, where everything goes wrong that can: `make simulate-control SEED=7` is one of them.
CONTROL_SEEDS ?= $(if $(SEED),1,1000)
simulate-control: venv
	PYTHONPATH=. .venv/bin/python tests/simulation/control/simulate.py $(CONTROL_SEEDS) $(or $(SEED),0)

# The same told to a real server beside the model, statement by statement.
simulate-control-real: venv
	REAL_CONTROL_SEEDS=10 .venv/bin/python -m pytest -q -n 2 -rP tests/simulation/control/test_real_control.py

# Each rule of control taken out in turn: some seed has to see it.
spoil-control: venv
	PYTHONPATH=. .venv/bin/python tests/simulation/control/spoils.py

# A month of five thousand customers.
utility: venv
	PYTHONPATH=. .venv/bin/python tests/simulation/control/utility.py

# Thirteen causes of darkness on simulated meters over real sockets, fifty times: `meterd why` names each within ten seconds. Some twenty minutes.
WHY_SEEDS ?= 50
why: venv
	WHY_SEEDS=$(WHY_SEEDS) .venv/bin/python -m pytest -q -n 2 tests/why

# Ten of such sites told to the daemon: its transactions, a real database.
simulate-daemon: venv
	SIMULATED_SEEDS=10 SIMULATED_POINTS=20 .venv/bin/python -m pytest -q -n 2 tests/simulation/test_daemon_site.py

# Facts at the edges of every rule in all combinations, before both guards.
guards: venv
	PYTHONPATH=. .venv/bin/python tests/guards.py

# Random lives of small sites told to a database in three orders, compared with an exact model of money.
STORIES ?= 200
FIRST_STORY ?= 0
stories: venv
	STORIES=$(STORIES) FIRST_STORY=$(FIRST_STORY) .venv/bin/python -m pytest -q -n 2 tests/database/stories

# Each prints its goals and whether they are reached.
bench: venv
	@for bench in $(BENCHES); do echo "== $$bench"; PYTHONPATH=. .venv/bin/python tests/bench/bench_$$bench.py; done

# Half an hour, half an hour, an hour; and 100,000 exchanges with faults.
bench-long: venv
	@echo "== terminals"; PYTHONPATH=. .venv/bin/python tests/bench/bench_terminals.py --hold-s 600
	@echo "== million"; PYTHONPATH=. .venv/bin/python tests/bench/bench_million.py
	@echo "== hour"; PYTHONPATH=. .venv/bin/python tests/bench/bench_hour.py
	@echo "== faults"; PYTHONPATH=. .venv/bin/python -m tests.bench.faults

# Mutants of the rules of money that no test sees. All files take hours: `make mutation FILES=daemon/billing/links.py`.
FILES ?=
mutation: venv
	.venv/bin/python -m tests.mutation $(FILES)

# Each promise of readings broken in turn: its test has to be red. `make spoil-readings SPOIL=R22` is one.
SPOIL ?=
spoil-readings: venv
	.venv/bin/python -m tests.mutation.spoils $(SPOIL)

# Each fault of the database and of disks while meters are read, and a SIGTERM in each, floods and liars; most of an hour. `make faults FAULTS="--only hang --seed 7"` is one.
FAULTS ?=
faults: venv
	.venv/bin/python -m tests.faults $(FAULTS)

# Every alert is fired and ended by a fault on the real daemon beside a real Prometheus; most of an hour. `make alarms ALARMS="--only notices"` is one story.
ALARMS ?=
alarms: venv
	.venv/bin/python -m tests.alarms $(ALARMS)

# Every question of the pages for Grafana, asked of `meterd demo --serve --prometheus`; some minutes.
panels: venv
	.venv/bin/python -m tests.monitoring.panels

# Coverage-guided, the same inputs for the same seed; about an hour for the whole number on one core.
FUZZ_RUNS ?= 10000000
FUZZ_SEED ?= 1
# Every other format: a million inputs or ten minutes each, whichever comes first.
FORMATS ?= modbus dial_in mqtt csv xlsx site tariff profile scenario control http proof cases
FORMAT_RUNS ?= 1000000
FORMAT_S ?= 600
fuzz: fuzz-dlt645 fuzz-formats

fuzz-formats: venv
	mkdir -p .fuzz
	@for format in $(FORMATS); do echo "== $$format"; PYTHONPATH=. .venv/bin/python tests/fuzz/fuzz.py $$format \
		-atheris_runs=$(FORMAT_RUNS) -max_total_time=$(FORMAT_S) -seed=$(FUZZ_SEED) -print_final_stats=1 -artifact_prefix=.fuzz/ || exit 1; done

fuzz-dlt645: venv
	mkdir -p .fuzz
	PYTHONPATH=. .venv/bin/python tests/fuzz/fuzz_dlt645.py -atheris_runs=$(FUZZ_RUNS) -seed=$(FUZZ_SEED) -timeout=5 -max_len=280 \
		-artifact_prefix=.fuzz/

venv: .venv/installed

# What is installed is what was locked, by its hashes; the project itself is no download and has none.
.venv/installed: pyproject.toml requirements-dev.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# The newest versions that pyproject.toml allows and the lock does not hold already; UPGRADE=1 takes the newest of all.
UPGRADE ?=
LOCK = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	$(if $(UPGRADE),--upgrade) pyproject.toml
lock: venv
	$(LOCK) -o requirements.txt
	$(LOCK) --extra dev -c requirements.txt -o requirements-dev.txt

# A package for the Debian that this runs on, of what is committed.
deb: venv
	.venv/bin/python debian/build.py

# It on a bare Debian 12: installed, lived with, upgraded, removed. As root.
DEB ?= $(lastword $(shell ls -tr dist/meterd_*.deb 2>/dev/null))
test-deb: venv
	PYTHONPATH=. .venv/bin/python -m tests.deb $(DEB)

# The pages for Grafana, from tests/monitoring/dashboards.py.
dashboards: venv
	.venv/bin/python -m tests.monitoring.dashboards

# What the program consists of when it runs, as CycloneDX.
sbom: venv
	.venv/bin/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --mc-type application \
		--output-reproducible --of JSON -o sbom.json

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .fuzz .mutation .coverage demo-data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
