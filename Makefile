# Everything that people and CI do here. `make help` lists it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Tests that run at once. Those of e2e mostly wait.
JOBS ?= 4
CORE := tests/unit/core
E2E_KUBECONFIG ?=
SEEDS ?= 1000
FIRST ?= 1
SIM_JOBS ?= 2
ON_SERVER = KUBECTL="$$(scripts/get-kubectl.sh)" E2E_KUBECONFIG="$(abspath $(E2E_KUBECONFIG))" $(BIN)/python -m pytest -q
SIZES ?= 100 1000
FAULT_JOBS ?= 8
MINUTES ?= 30
FAULTS = KUBECTL="$$(scripts/get-kubectl.sh)" E2E_KUBECONFIG="$(abspath $(E2E_KUBECONFIG))" $(BIN)/python -m tests.e2e.faults
OF_SERVER := tests/e2e tests/contract/test_kube_api.py tests/integration/test_kube_client.py

.DEFAULT_GOAL := help
.PHONY: help install demo dev test check format e2e faults chaos image-test crds docs monitoring simulate bugs bench storm lock clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with everything that is locked (the other targets do it by themselves)

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED) ## The main job, end to end, on embedded parts; exits 0 if every promise held
	$(BIN)/fractal-dev demo

dev: $(INSTALLED) ## The same parts kept running, to play with; Ctrl-C ends them
	$(BIN)/fractal-dev up

test: $(INSTALLED) ## All tests that need no outside server
	$(BIN)/python -m pytest $(CORE) -q -n $(JOBS) --cov=fractal_operator.core --cov-branch --cov-report=term:skip-covered --cov-fail-under=100
	KUBECTL="$$(scripts/get-kubectl.sh)" $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal --ignore=$(CORE) tests

check: $(INSTALLED) ## Lint, format, types and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## Repair what `make check` can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

e2e: $(INSTALLED) ## End-to-end tests on the cluster of E2E_KUBECONFIG=… (a real API server)
	@test -n "$(E2E_KUBECONFIG)" || { echo "make e2e needs E2E_KUBECONFIG=path/of/a/kubeconfig" >&2; exit 2; }
	$(ON_SERVER) -m "not alone" -n $(JOBS) --dist worksteal $(OF_SERVER)
	$(ON_SERVER) -m alone tests/e2e

faults: $(INSTALLED) ## Kill, cut and stop real parts at every call: PLAN=name or pattern, FAULT_JOBS=8, E2E_KUBECONFIG=…
	$(FAULTS).run --jobs $(FAULT_JOBS) $(if $(PLAN),--plan '$(PLAN)')

chaos: $(INSTALLED) ## MINUTES=30 of random faults on real parts, SEED=n; then all has to converge
	$(FAULTS).chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

image-test: $(INSTALLED) ## Build the image with buildah and run it as a pod would (as root; no container engine)
	@command -v buildah >/dev/null && command -v debootstrap >/dev/null && test "$$(id -u)" = 0 || { echo "make image-test needs root, buildah and debootstrap" >&2; exit 2; }
	KUBECTL="$$(scripts/get-kubectl.sh)" $(BIN)/python -m pytest -q -s tests/e2e/test_image.py

crds: $(INSTALLED) ## Write crds/ and the chart's copies from the models
	$(BIN)/fractal-operator crds > crds/fractal.co_fractalcontainers.yaml
	cp crds/fractal.co_fractalcontainers.yaml charts/fractal-operator/files/crd.yaml
	$(BIN)/fractal-operator crds --no-cel > charts/fractal-operator/files/crd-no-cel.yaml

docs: $(INSTALLED) ## Write the reference pages, the dashboard and the alerts from the code
	$(BIN)/python -m fractal_operator.reference docs
	$(BIN)/python -m fractal_operator.observability charts/fractal-operator/files

monitoring: $(INSTALLED) ## Tests of dashboard and alerts with a real Prometheus (Debian's package)
	@command -v prometheus >/dev/null && command -v promtool >/dev/null || { echo "make monitoring needs Debian's package prometheus" >&2; exit 2; }
	KUBECTL="$$(scripts/get-kubectl.sh)" $(BIN)/python -m pytest -q -n 2 tests/unit/test_observability.py \
	  tests/integration/test_alert_rules.py tests/e2e/test_monitoring.py

simulate: $(INSTALLED) ## Seeds of faults on the real core and shell: SEEDS=1000 FIRST=1, SEED=n replays one, SWEEP=1 strikes each call
	$(BIN)/python -m tests.simulation.seeds --jobs $(SIM_JOBS) --seeds $(SEEDS) --first $(FIRST) $(if $(SEED),--seed $(SEED)) $(if $(SWEEP),--sweep)

bugs: $(INSTALLED) ## Plant each known kind of bug in the product; fails if a seed or test does not catch one
	$(BIN)/python -m tests.simulation.bugs

bench: $(INSTALLED) ## Count writes and AWS calls, then SIZES="100 1000" objects on E2E_KUBECONFIG=…; fails if a bound is broken
	$(BIN)/python -m benchmarks.counts
	E2E_KUBECONFIG="$(abspath $(E2E_KUBECONFIG))" $(BIN)/python -m benchmarks.ladder $(SIZES)
	$(BIN)/python -m benchmarks.report $(if $(E2E_KUBECONFIG),,--standin)

storm: $(INSTALLED) ## 2,000 objects at once against an ECS that throttles; E2E_KUBECONFIG=… for a real API server
	E2E_KUBECONFIG="$(abspath $(E2E_KUBECONFIG))" $(BIN)/python -m benchmarks.storm

lock: $(INSTALLED) ## Resolve the dependencies again, into requirements.lock and the image's part of it
	$(BIN)/uv pip compile pyproject.toml --upgrade --extra dev --extra bench --group lint --generate-hashes --no-emit-index-url --no-header -q -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group build --constraint requirements.lock --no-annotate --generate-hashes --no-emit-index-url --no-header -q -o requirements-image.lock

clean: ## Remove what the other targets made
	rm -rf $(VENV) .tools .fractal-dev .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
