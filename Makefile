# What a newcomer types. Every target first sees to .venv: a Python of your own, filled from requirements.lock by hash.
#
#   make demo       everything on this machine, nothing installed beforehand, and books that must agree at the end
#   make test       all tests but the long fault campaign
#   make campaign   the long fault campaign
#   make bench      how fast it is
#   make lint       style, types, and which room may import which
#   make lock       requirements.lock anew from pyproject.toml (needs uv)
#   make clean      away with .venv, caches and what a demo left
#
# PYTHON=python3.12 make test    chooses another Python (3.11 or newer; the first that is found otherwise)
# make test ARGS="-k refund -x"  hands arguments on, to demo, bench and campaign too

BENCH ?= .venv/bin/python -m tests.bench
ARGS ?=

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

# A half-made .venv has no .ready. One that was moved with its folder, or whose Python was taken away, loses it here.
STALE := $(shell if test -e .venv/.ready; then \
	{ test "$$(cat .venv/.ready)" = "$(CURDIR)" && .venv/bin/python -c ''; } >/dev/null 2>&1 || rm -f .venv/.ready; fi)

.PHONY: demo test bench campaign lint lock clean

demo: .venv/.ready
	@.venv/bin/refundflow demo $(ARGS)

test: .venv/.ready
	@.venv/bin/pytest -m "not campaign" $(ARGS)

campaign: .venv/.ready
	@.venv/bin/pytest -m campaign $(ARGS)

bench: .venv/.ready
	@$(BENCH) $(ARGS)

lint: .venv/.ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# pip tells its whole story to .venv/install.log, and here only how far it is; when it fails, its last lines.
.venv/.ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "refundflow needs Python 3.11 or newer: install one, or name it: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11, or does not run" >&2; exit 1; }
	@rm -rf .venv
	@echo "setting up .venv with $$($(PYTHON) --version), once"
	@$(PYTHON) -m venv .venv || { echo "no venv: this Python came without it (Debian and Ubuntu: install python3-venv)" >&2; rm -rf .venv; exit 1; }
	@total=$$(grep -c '==' requirements.lock); log=.venv/install.log; \
	.venv/bin/python -m pip install --disable-pip-version-check --progress-bar off --require-hashes -r requirements.lock >$$log 2>&1 & pip=$$!; \
	while kill -0 $$pip 2>/dev/null; do \
		if grep -q '^Installing collected' $$log; then echo "  unpacking"; else echo "  $$(grep -c '^Collecting' $$log) of about $$total packages fetched"; fi; \
		n=0; while test $$n -lt 10 && kill -0 $$pip 2>/dev/null; do sleep 0.5; n=$$((n + 1)); done; \
	done; \
	wait $$pip || { echo "pip could not install the locked packages; the end of $$log:" >&2; tail -n 15 $$log >&2; exit 1; }
	@.venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --no-index --editable .
	@echo "$(CURDIR)" >$@
	@echo "set up"

lock:
	uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-annotate --upgrade \
		--python-version 3.11 --extra embedded --extra dev pyproject.toml -o requirements.lock

clean:
	@rm -rf .venv .refundflow .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist *.egg-info
	@find refundflow tests -name __pycache__ -type d -prune -exec rm -rf {} +
