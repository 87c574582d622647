# Everything runs in .venv, made on first use. `make help` lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
TOOLS  := curl strace chromium fonts-dejavu-core nginx-light caddy systemd \
          gcc libc6-dev pkg-config libfuse3-dev e2fsprogs xfsprogs btrfs-progs
PEERS  := docker-registry redis-server nats-server
SECONDS ?= 3600
PROTO  := $(BIN)/python -m grpc_tools.protoc -Iproto

.DEFAULT_GOAL := help
.PHONY: help setup tools peers demo serve test check proto bench curves crash soak fuzz mutants clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "udfstore needs Python 3.11 or newer; name one with: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(READY) ## install everything into .venv

tools: ## what some tests drive (strace, Chromium, proxies, file systems), from Debian's packages; needs root
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(TOOLS) >/dev/null

peers: ## the stores that make bench measures beside this one, from Debian's packages; needs root
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PEERS) >/dev/null

demo: $(READY) ## the main job on real data: serve, train, promote, score, swap, roll back
	$(BIN)/python examples/water_flow/demo.py

serve: $(READY) ## run a server on the usual root and socket
	$(BIN)/udfstore serve

test: $(READY) ## all tests, on two processors
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(READY) ## style, types, layers, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT \
	  && $(PROTO) --python_out=$$fresh --pyi_out=$$fresh proto/udfstore.proto \
	  && diff -ru -x __init__.py -x __pycache__ $$fresh udfstore/_pb \
	  && echo "generated code is fresh" \
	  || { echo "udfstore/_pb is stale: run make proto" >&2; exit 1; }

proto: $(READY) ## make udfstore/_pb from proto/ again
	$(PROTO) --python_out=udfstore/_pb --pyi_out=udfstore/_pb proto/udfstore.proto

bench: $(READY) ## measure, each figure beside its floor
	$(BIN)/python -m tests.bench

curves: $(READY) ## draw how cost grows with size, clients and age into docs/images
	$(BIN)/python -m tests.bench.curves

crash: $(READY) ## the long form of the tests with kills, errors and power cuts
	UDFSTORE_CRASH=long $(BIN)/python -m pytest tests/faults -o faulthandler_timeout=0

soak: $(READY) ## clients of every kind at one server with kills and restarts, for an hour; SECONDS=120: in short
	$(BIN)/python -m tests.soak --seconds $(SECONDS)

fuzz: $(READY) ## frames and sessions, a minute each, with atheris
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	for target in frames host udf; do \
	  $(BIN)/python -m tests.fuzz $$target -max_total_time=60 || exit 1; done

mutants: $(READY) ## change the wire and the core of the store in a thousand places, and see which test notices
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutation]'
	$(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

clean: ## remove what the other targets made
	rm -rf $(VENV) .demo .bench .fuzz .soak mutants build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
