# Everything here works from a fresh clone: the first target that needs it builds .venv.
.DEFAULT_GOAL := help
.PHONY: help evaluate fast test release-check lint format types synthetic synthetic-check benchmarks clean print-python venv

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
export PYTHON

STAMP := $(VENV)/.built-for
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input

DATA := data/synthetic
EXTRACTS := data/extracts
OUT := results
FIRST := 0
COUNT := 300
SIMULATE := simulate --seed 20140401 --world effect

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  PYTHON=/path/to/python3.13 chooses the interpreter; ARGS=... is handed to lndbayes evaluate or pytest"

# make itself exits 2 whatever a command's status was, so the status is printed.
evaluate: venv ## evaluate the synthetic data: fits, checks, effects, savings and report into results/
	@status=0; $(BIN)/lndbayes evaluate $(DATA) --models models --out $(OUT) $(ARGS) || status=$$?; \
	case $$status in \
	    0) meaning="all good" ;; \
	    1) meaning="a check says FAIL; the results are written and marked" ;; \
	    2) meaning="bad input, spec or usage" ;; \
	    70) meaning="an error of the machine or the program; the log is named above" ;; \
	    130) meaning="interrupted; finished fits are kept, run again to continue" ;; \
	    *) meaning="unexpected" ;; \
	esac; \
	echo "lndbayes evaluate: exit status $$status ($$meaning)" >&2; exit $$status

fast: lint ## lint, and the tests that neither sample nor compile a model nor take seconds
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not slow and not release" $(ARGS)

test: lint types ## lint, types, and the whole default test suite
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

# A line for each example is kept in $(OUT)/generated.jsonl: an interrupted check goes on where it stopped.
release-check: venv ## judge the committed results, then try generated evaluations; FIRST=0 COUNT=300 say which
	$(BIN)/python -m pytest -q -m release
	$(BIN)/python tests/generated_run.py --first $(FIRST) --count $(COUNT) --lines $(OUT)/generated.jsonl

lint: venv ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: venv ## put style and formatting right where that can be done safely
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: venv ## check types in src
	$(BIN)/mypy

synthetic: venv ## write data/synthetic and data/extracts anew from their seed
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(BIN)/lndbayes $(SIMULATE) --extracts "$$fresh/world" && rm -rf $(EXTRACTS) && \
	cp -R "$$fresh/world/extracts" $(EXTRACTS) && $(BIN)/lndbayes $(SIMULATE) $(DATA)

# Parquet's bytes may differ between versions of its writer: a test compares the extracts' content.
synthetic-check: venv ## check that data/synthetic is what its seed gives
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(BIN)/lndbayes $(SIMULATE) "$$fresh/synthetic" && diff -r "$$fresh/synthetic" $(DATA) && \
	echo "$(DATA) is what its seed gives"

benchmarks: venv ## run every benchmarks/bench_*.py
	@set -e; for script in benchmarks/bench_*.py; do echo "$$script"; $(BIN)/python "$$script"; done

clean: ## remove .venv and caches; results stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

print-python: ## say which Python .venv is built from
	@sh tools/find-python.sh

# A stamp is written only after a complete installation. No stamp, a Python that no longer runs, or another
# place (scripts hold their own path): the environment is built from nothing. A stamp for other pins: what
# changed is installed over it.
venv: ## build .venv where needed
	@place=$$(pwd -P); key="$$(cat pyproject.toml constraints.txt | cksum) $$place"; built=""; \
	$(BIN)/python -c '' 2>/dev/null && built=$$(cat $(STAMP) 2>/dev/null); \
	case $$built in \
	    "$$key") exit 0 ;; \
	    *" $$place") echo "Bringing $(VENV) up to date." >&2; rm -f $(STAMP) ;; \
	    *) python=$$(sh tools/find-python.sh) || exit 2; \
	       echo "Building $(VENV) with $$python: about 2 minutes, once." >&2; \
	       rm -rf $(VENV) && "$$python" -m venv $(VENV) || exit 2 ;; \
	esac; \
	$(PIP_INSTALL) -c constraints.txt -e '.[dev]' && printf '%s\n' "$$key" > $(STAMP) || { \
	    echo "$(VENV) could not be built: see above. Nothing was marked as done; run make again." >&2; exit 2; }
