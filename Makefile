# make demo   set up .venv, draw the toy people, train a small OSNet on them, test it
# make test   set up .venv, run all tests
# make check  ruff, import layers, mypy on the leaves
# make bench  measure all that wants no data, in an hour or two: see benchmarks/README.md

PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 2

.PHONY: demo test check bench clean

.venv/ready: setup.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: .venv/ready
	$(BIN)/python tools/train_net.py --config-file configs/demo.yml

test: .venv/ready
	$(BIN)/python -m pytest

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest tests/test_layers.py
	$(BIN)/mypy reidtools/registry.py reidtools/ops reidtools/losses reidtools/solver reidtools/evaluation

bench: .venv/ready
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/pipeline.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/processes.py
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/ranking.py
	$(BIN)/python benchmarks/reranking.py
	$(BIN)/python benchmarks/gallery.py --size 100000
	$(BIN)/python benchmarks/sequences.py
	$(BIN)/python benchmarks/tracks.py
	$(BIN)/python benchmarks/clip.py

clean:
	rm -rf .venv build dist *.egg-info
