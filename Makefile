# `make demo` and `make test` work in a bare clone: they make their own .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --constraint constraints.txt
SOURCES := $(shell find python deploy lammps_inputs CMakeLists.txt pyproject.toml constraints.txt -type f -not -name '*.pyc')
# A foreign mpirun or lmp may come first on PATH, and the demo must not use all threads twice.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slurm test-sanitizers lint install clean

install: $(VENV)/installed

$(VENV)/tools: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) scikit-build-core cmake ninja setuptools pybind11 "lammps[mpi]"
	touch $@

# Built once, as a wheel, for the compiler takes minutes; pip keeps a wheel of the same version
# unless it is forced.
$(VENV)/installed: $(VENV)/tools $(SOURCES)
	rm -rf $(VENV)/wheel
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir $(VENV)/wheel .
	$(PIP) --no-deps --force-reinstall $(VENV)/wheel/*.whl
	$(PIP) $(VENV)/wheel/*.whl
	touch $@

$(VENV)/tested: $(VENV)/installed
	$(PIP) "$$(echo $(VENV)/wheel/*.whl)[test,xtb,sevennet,nep,gap,hpc,tensorboard]"
	touch $@

# Exit code 2 is a verdict (a model fails in MD), here the demo's very result.
demo: $(VENV)/installed
	tempermd study run studies/demo.toml -o demo || test $$? -eq 2
	tempermd study table demo
	@echo "report: $(CURDIR)/demo/report.html"

test: $(VENV)/tested
	$(BIN)/ruff check python tests
	$(BIN)/ruff format --check python tests
	$(BIN)/pytest -n auto --dist loadfile -m "not slurm and not sanitizers"

# They start a Slurm of their own, mostly wait for it, and skip where they cannot.
test-slurm: $(VENV)/tested
	$(BIN)/pytest -n 2 --dist loadfile -m slurm

# They compile for minutes.
test-sanitizers: $(VENV)/tested
	$(BIN)/pytest -m sanitizers

lint: $(VENV)/tested
	$(BIN)/ruff format python tests
	$(BIN)/ruff check --fix python tests

clean:
	rm -rf $(VENV) build demo
