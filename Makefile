# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
#
# Every target makes its own set-up; see `make help`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test faults fuzz lint train clean

# demo: the bag to run on (none: render a world, SCENE=street or indoor, and run on that), and where to write
BAG ?=
SCENE ?= street
OUT ?= demo_out
# test, train: more arguments, e.g. make test ARGS="-k mapping"
ARGS ?=

ENTER := set +u; . tools/env.sh; set -u;

help: ## show this text
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: ## make .venv, build the packages with colcon (quick when done)
	@tools/setup.sh

demo: setup ## run the whole suite; BAG=... on a bag, SCENE=indoor inside, OUT=demo_out is where the results go
	@$(ENTER) python -m mtl_perception demo $(if $(BAG),--bag "$(BAG)",--scene "$(SCENE)") --out "$(OUT)"

test: setup ## run all tests; ARGS="-k name" for some
	@$(ENTER) python -m pytest -q --numprocesses=auto --maxprocesses=4 --dist=loadfile test $(ARGS)

faults: setup ## run the fault suite at full scale; the report goes to faults_out/
	@$(ENTER) MTL_PERCEPTION_FAULTS=full MTL_PERCEPTION_FAULTS_OUT=faults_out \
		python -m pytest -q --timeout=900 test/faults $(ARGS)

fuzz: setup ## feed more than 100,000 hostile inputs to everything that reads (20 minutes); ARGS="--only rig --scale 0.1"
	@$(ENTER) PYTHONPATH="test/fuzz:$${PYTHONPATH:-}" python -W ignore -m fuzzing $(ARGS)

lint: setup ## ruff (rules, not layout) and mypy
	@$(ENTER) ruff check .; mypy

train: setup ## train the shipped network; ARGS="--help" shows how
	@$(ENTER) python -m mtl_perception train $(ARGS)

clean: ## remove what set-up, build and demo have made
	rm -rf .venv build install log demo_out faults_out fuzz_out .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
