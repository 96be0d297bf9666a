# The work is done by the scripts in tests/tools; each says in its first lines what it does.

PYTHON ?= python3
export PYTHON

.PHONY: help demo test test-all lint sanity bench clean

help:  ## this list; PYTHON=python3.12 before a target takes another Python
	@sed -n 's/^\([a-z-]*\):  *## /  make \1\t/p' Makefile | expand -t 20

demo:  ## see the collection at work: background archives on this machine, in less than two minutes
	@tests/tools/demo.sh

test:  ## unit and integration tests on the newest ansible-core that your Python can have
	@tests/tools/test.sh newest

test-all:  ## the same on every ansible-core that a Python of this machine can have
	@tests/tools/test.sh all

lint:  ## ruff, mypy, yamllint, ansible-lint and the linters of the documentation and the changelog
	@tests/tools/lint.sh

sanity:  ## ansible-test sanity, without an ignore file
	@tests/tools/sanity.sh

bench:  ## the table of benchmarks/
	@tests/tools/bench.sh

clean:  ## remove what the other targets made
	rm -rf .venvs
