# Every target sets up what it needs: Python 3.11 and make are enough to start.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PEERS := hyperqueue dask ray parsl skypilot
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test sim places soak test-deps check format mutants bench bench-quick bench-peers clean help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Styx needs $(PYTHON); set PYTHON=... to name another" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -q -e .
	@touch $@

$(VENV)/.test: $(VENV)/.installed
	$(BIN)/python -m pip install -q -e . --group test
	@touch $@

$(VENV)/.check: $(VENV)/.test
	$(BIN)/python -m pip install -q -e . --group test --group check
	@touch $@

demo: $(VENV)/.installed ## install Styx and run the census of your Python's standard library
	@$(BIN)/python examples/census/demo.py

test: $(VENV)/.check test-deps ## everything the tests need, and the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -r sxX

sim: $(VENV)/.check ## the simulator: 100,000 seeds (SEEDS=N), and 10,000 runs with a cloud (CLOUDS=N), over all cores
	$(BIN)/python -m styx.testing.simulator --seeds $(or $(SEEDS),100000) --jobs $(shell nproc 2>/dev/null || echo 2)
	$(BIN)/python -m styx.testing.simulator --clouds --seeds $(or $(CLOUDS),10000) --jobs $(shell nproc 2>/dev/null || echo 2)

places: $(VENV)/.check ## faults and cut-off servers with the real adapters of AWS and GCP: 200 runs each (RUNS=N)
	STYX_PLACES_RUNS=$(or $(RUNS),200) $(BIN)/python -m pytest -n 2 tests/providers/test_places_faults.py

soak: $(VENV)/.check test-deps ## the long forms of the tests of faults: a hundred kills, ten minutes of overload
	STYX_SOAK=1 $(BIN)/python -m pytest tests/faults -s -r sxX

test-deps: ## what the tests need of the system, where it can be installed
	@if ! { command -v ip && command -v iptables && command -v unshare; } >/dev/null \
		&& [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -q && apt-get install -y -q --no-install-recommends iproute2 iptables util-linux \
		|| echo "the tests that need ip, iptables and unshare will be skipped" >&2; fi
	@if ! PATH="$$PATH:/usr/sbin" command -v sshd >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -q && apt-get install -y -q --no-install-recommends openssh-server \
		|| echo "the tests that need sshd will be skipped" >&2; fi

check: $(VENV)/.check ## format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.check ## let ruff put the layout right
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

mutants: $(VENV)/.check ## seeded faults against the ordinary tests
	$(BIN)/python tests/mutants/run.py

bench: $(VENV)/.installed ## every benchmark, its floor, the installed peers; table and charts for the README (ONLY=compared, peers, scale or names)
	@$(BIN)/python benchmarks/run.py $(ONLY)

bench-quick: $(VENV)/.installed ## the same with a tenth of the work, into benchmarks/quick/
	@$(BIN)/python benchmarks/run.py --quick

bench-peers: ## what Styx is measured against, each from PyPI into its own environment under .venvs/ (0.9 GB)
	@$(MAKE) --no-print-directory -k $(PEERS:%=.venvs/%/.installed)

.venvs/%/.installed: benchmarks/peers/%.txt
	@command -v $(PYTHON) >/dev/null || { echo "the peers need $(PYTHON); set PYTHON=... to name another" >&2; exit 1; }
	$(PYTHON) -m venv .venvs/$*
	.venvs/$*/bin/python -m pip install -q -r $<
	@touch $@

clean: ## remove what the other targets made
	rm -rf $(VENV) .venvs benchmarks/quick .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
