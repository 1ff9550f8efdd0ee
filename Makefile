# Two commands do everything on a machine with Python (3.11 or newer) and make:
#   make demo    gradients of every framework on a photograph: a table, and a report
#   make test    formatting, types, and all tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OLDEST ?= .venv-oldest
# The index of PyTorch's CPU builds. If it cannot be reached, pip's own settings are used.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH_SOURCE = $(shell $(PYTHON) -c "from urllib.request import urlopen; \
  urlopen('$(TORCH_INDEX)/torch/', timeout=5)" 2>/dev/null && echo --extra-index-url $(TORCH_INDEX))

export TF_CPP_MIN_LOG_LEVEL ?= 3
# Files are UTF-8 whatever the locale.
export PYTHONUTF8 = 1

.PHONY: demo test tests check fast family oldest oldest-torch docs format hostile cases gpu \
  conformance-table processors performance clean

demo: $(VENV)/ready
	mkdir -p demo
	$(BIN)/python -m svdinv_conformance compare \
	  --case photo-tiled --case photo-zero-rows --loss soft \
	  --html demo/report.html --json demo/report.json

# At the same time: a processor is idle at the end of each.
test: $(VENV)/ready
	$(MAKE) --jobs=3 check docs tests

tests: $(VENV)/ready
	$(PYTEST)

check: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two workers with one thread each; an idle worker takes tests from the other.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# Without the slow tests.
fast: $(VENV)/ready
	$(PYTEST) -m "not slow"

# The tests that `make test` runs on 10 matrices of each kind, on 200 and at every scale and gap; and
# every function under every transform, where `make test` has one for each path through an adapter.
family: $(VENV)/ready
	$(PYTEST) --whole-family tests/adapters/test_svt_accuracy.py tests/core/test_svd_rules.py tests/adapters/test_fit.py \
	  tests/adapters/test_operators.py tests/adapters/test_drivers.py tests/transforms \
	  tests/conformance/test_frameworks_conform.py tests/conformance/test_generator.py \
	  tests/conformance/test_command.py

# The site, in build/docs/index.html; guides are executed.
docs: $(VENV)/ready
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs -d build/doctrees

# The oldest versions of everything except CuPy; PyTorch has a separate environment.
oldest: export XLA_FLAGS ?= --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true
oldest: $(OLDEST)/ready
	$(OLDEST)/bin/python -m pytest -n 2 -m "not slow" -k "numpy or jax or tensorflow or autograd" \
	  tests/adapters/test_svt_accuracy.py tests/adapters/test_inputs.py tests/adapters/test_gauge.py tests/adapters/test_fit.py
	$(OLDEST)/bin/python -m svdinv_conformance run svdinv.numpy svdinv.jax svdinv.tensorflow svdinv.autograd \
	  -k "soft or polar or gauge"

oldest-torch: $(OLDEST)-torch/ready
	$(OLDEST)-torch/bin/python -m pytest -n 2 -m "not slow" -k torch tests/adapters/test_svt_accuracy.py \
	  tests/adapters/test_inputs.py tests/adapters/test_gauge.py tests/adapters/test_fit.py tests/adapters/test_operators.py
	$(OLDEST)-torch/bin/python -m pytest -n 2 tests/transforms/test_torch.py \
	  -k "(compile and (svt or svd)) or (compile and backward and eigh) or (export and svt)"
	$(OLDEST)-torch/bin/python -m svdinv_conformance run svdinv.torch -k "soft or polar or gauge"

# A hundred thousand hostile matrices in every function of PyTorch, JAX and NumPy; many minutes.
hostile: $(VENV)/ready
	PYTHONPATH=tests $(BIN)/python -m support.hostile

format: $(VENV)/ready
	$(BIN)/python adapters/write_public.py
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# One report, gpu.html: the suite, the comparison and the timings on this machine's GPU.
gpu: $(VENV)/ready
	$(BIN)/python -m svdinv_conformance gpu

# The table of who passes what in docs/conformance.md; failures of native functions are expected.
conformance-table: $(VENV)/ready
	$(BIN)/python -m svdinv_conformance run native svdinv.numpy svdinv.torch svdinv.jax \
	  svdinv.tensorflow svdinv.autograd --markdown docs/conformance.md; test $$? -le 1

# The numerical tests as on other processors, for the table of settings in docs/conformance.md.
processors: $(VENV)/ready
	$(BIN)/python tests/support/processors.py --markdown docs/conformance.md

# The tables and the picture of docs/performance.md, on this machine; nothing else should run.
performance: $(VENV)/ready
	$(BIN)/python -m svdinv_conformance bench --markdown docs/performance.md \
	  --plot docs/images/cost.png
	$(BIN)/python -m svdinv_conformance bench --threshold 0.5 --markdown docs/performance.md

cases: $(VENV)/ready
	$(BIN)/python conformance/generator

$(VENV)/ready: pyproject.toml tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH_SOURCE) --constraint tests/requirements.txt torch
	$(BIN)/python -m pip install --quiet --requirement tests/requirements.txt
	$(BIN)/python -m pip install --quiet --editable ".[conformance]"
	touch $@

$(OLDEST)/ready: pyproject.toml tests/oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --requirement tests/oldest.txt
	$(OLDEST)/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

$(OLDEST)-torch/ready: pyproject.toml tests/oldest-torch.txt
	$(PYTHON) -m venv $(OLDEST)-torch
	$(OLDEST)-torch/bin/python -m pip install --quiet $(TORCH_SOURCE) \
	  --requirement tests/oldest-torch.txt
	$(OLDEST)-torch/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) $(OLDEST)-torch build demo .pytest_cache .mypy_cache .ruff_cache
