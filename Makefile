# The work is done by the scripts in tests/tools; each says in its first lines what it does.

PYTHON ?= python3
export PYTHON

.PHONY: help demo test test-all fleet-test lint sanity bench clean

help:  ## this list; PYTHON=python3.12 before a target takes another Python
	@sed -n 's/^\([a-z-]*\):  *## /  make \1\t/p' Makefile | expand -t 20

demo:  ## see the collection at work: background archives on this machine, in less than two minutes
	@tests/tools/demo.sh

test:  ## unit and integration tests on the newest ansible-core that your Python can have
	@tests/tools/test.sh newest

test-all:  ## the same on every ansible-core that a Python of this machine can have, and fleet-test
	@tests/tools/test.sh all
	@tests/tools/fleet-test.sh

fleet-test:  ## the scenarios and the fault suite on hosts of their own; needs root and a few packages of Debian
	@tests/tools/fleet-test.sh

lint:  ## ruff, mypy, yamllint, ansible-lint and the linters of the documentation and the changelog
	@tests/tools/lint.sh

sanity:  ## ansible-test sanity, without an ignore file
	@tests/tools/sanity.sh

bench:  ## the table of benchmarks/
	@tests/tools/bench.sh

clean:  ## remove what the other targets made
	@[ ! -d .fleet ] || PYTHONPATH=tests $(PYTHON) -m fleet purge
	rm -rf .venvs
