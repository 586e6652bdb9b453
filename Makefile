# Podium. `make help` lists what there is. PODIUM_HOME and PODIUM_CACHE move its state and its cache.
PYTHON ?= python3.11
RUN = @command -v $(PYTHON) >/dev/null || { echo "podium: $(PYTHON) is missing. Install it: apt-get install -y python3.11 python3.11-venv g++ make (or name another: make PYTHON=/path/to/python3.11 ...)"; exit 1; }; \
	exec $(PYTHON) include/stack/bootstrap.py

.DEFAULT_GOAL := help
.PHONY: help setup up down status demo airflow audit erase job test soak lint lock bench test-cluster

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## set up, start, and run the whole pipeline on real data; ends with a report
	$(RUN) demo $(ARGS)

setup: ## build every environment and fetch the jars; resumes when interrupted
	$(RUN) setup

up: ## start the platform (and set up what is missing)
	$(RUN) up

down: ## stop the platform and every pod
	$(RUN) down

status: ## show every service: state, health, memory, address
	$(RUN) status

airflow: ## Airflow's command line on the platform: make airflow ARGS="backfill create --help"
	$(RUN) airflow $(ARGS)

audit: ## verify the audit trail (ARGS="--head NUMBER:HASH" holds it to a head noted before)
	$(RUN) audit $(ARGS)

erase: ## ask for a household's erasure: its id on standard input, the pseudonym to trigger erase_household with comes out
	$(RUN) erase

job: ## a command of a job in a pod of its image: make job ARGS="ingest discard --help"
	$(RUN) job $(ARGS)

test: ## lint, then every test suite in its environment (ARGS="tests/stack" for some)
	$(RUN) test $(ARGS)

soak: ## kill everything, at every moment, ten times; writes build/soak/ (ARGS="-k scheduler --repetitions 3" for some)
	$(RUN) soak $(ARGS)

lint: ## ruff, mypy, import rules, fresh locks
	$(RUN) lint

lock: ## renew the lock files whose requirements have changed
	$(RUN) lock

bench: ## benchmarks: ratios measured in one run (ARGS="features" for one, ARGS="--help" for all names)
	$(RUN) bench $(ARGS)

test-cluster: ## on a real cluster: KUBECONFIG=FILE; the pipeline too: HOST_ADDRESS=this machine's, as pods see it; OPERATORS=1: see k8s/README.md
	$(RUN) test $(if $(OPERATORS),tests/pipeline/test_operators.py --operators,tests/devcluster $(if $(HOST_ADDRESS),tests/pipeline)) \
		$(if $(HOST_ADDRESS),--host-address $(HOST_ADDRESS)) --kubeconfig "$(KUBECONFIG)" $(ARGS)
