# Everything sets up its own virtual environment. PYTHON names the interpreter (>= 3.11) to make it with.
PYTHON ?= python3
VENV   ?= .venv
# torch is the test suite's oracle beside ours, and bptt.torch needs it; `make test TORCH=` leaves it out and the tests with
# it are skipped.
TORCH  ?= torch==2.13.0
# an MPI and its Python package, which run the trainings of tests/test_shards.py; `make test MPI=` leaves them out likewise
MPI    ?= mpi4py mpich
FILE   ?=
ARGS   ?=

BIN     = $(VENV)/bin
PIP     = $(BIN)/python -m pip --disable-pip-version-check -q
PYTEST  = $(BIN)/python -m pytest -n 2 --dist loadgroup # two processes
CORE    := $(wildcard csrc/*.[ch] csrc/*/*.[ch])
C_FILES := $(CORE) $(wildcard src/bptt/include/*.h tests/*.c tests/c/*.[ch] tests/fuzz/*.[ch] tests/link/*.[ch] \
                              tests/link/pkgconfig/*.c tests/link/mpi/*.c tests/link/capsule/*.c tests/link/cmake/*.cpp tests/firmware/*.c \
                              tests/link/extensions/*.hpp tests/link/extensions/*/*.cpp benchmarks/*.c)
ALONE   := $(CORE) $(wildcard tests/c/*.[ch] tests/fuzz/*.[ch]) # files that must compile alone
CYTHON  := $(wildcard src/bptt/*.pyx src/bptt/bindings/*.pxi tests/link/cython/*.pyx tests/link/cython/*.pxi)

.PHONY: help demo core ctest debug test test-slow coverage mutants lint format docs sanitize sanitize-address \
        sanitize-threads sanitize-memory soak faults fuzz bench bench-quick wheel wheel-aarch64 sdist \
        cross clean
help:
	@echo "make demo [FILE=book.txt]   train a character model"
	@echo "make test [ARGS=...]        build and run the whole test suite; ARGS for pytest"
	@echo "make test-slow              run the tests that take minutes"
	@echo "make core                   build what a change of the sources reaches, in place"
	@echo "make ctest                  that, and run the C programs of tests/c without Python"
	@echo "make debug                  make core with symbols and without optimisation, for a debugger"
	@echo "make coverage               run the suite with counters, print the branches of csrc that no test takes"
	@echo "make mutants [COUNT=300]    make small faults in csrc, print those that no test notices"
	@echo "make lint                   check style and types"
	@echo "make docs                   build the site, in build/docs"
	@echo "make sanitize               run the suite under ASan and UBSan, what has threads under TSan, the C programs under MSan;"
	@echo "                            one: sanitize-address, sanitize-threads, sanitize-memory"
	@echo "make soak                   minutes of use: memory stays flat"
	@echo "make faults                 the long forms of tests/test_faults.py"
	@echo "make fuzz [TIME=60] [TARGET=core]   run each fuzz target, or this one, for so many seconds; needs clang"
	@echo "make bench                  a training step against torch and jax (installs them), table and chart"
	@echo "make bench-quick            a minute of benchmarks against NumPy"
	@echo "make wheel | wheel-aarch64  build, audit and test a wheel of the commit (wheels/README.md)"
	@echo "make sdist                  the same for the source distribution"
	@echo "make cross                  compile the core for other systems, run what an emulator can"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -U pip 'setuptools>=77' 'cython>=3.1'

# the package, installed in place; `core` builds what changed since
$(VENV)/installed: $(BIN)/python pyproject.toml setup.py README.md
	$(PIP) install --no-build-isolation -e '.[plot]'
	@touch $@

$(VENV)/tested: $(VENV)/installed
	$(PIP) install --no-build-isolation -e '.[plot,test]' $(TORCH) $(MPI)
	@touch $@

$(VENV)/linted: $(VENV)/installed
	$(PIP) install --no-build-isolation -e '.[dev]'
	@touch $@

$(VENV)/documented: $(VENV)/installed
	$(PIP) install --no-build-isolation -e '.[docs]'
	@touch $@

core: $(VENV)/installed
	$(BIN)/python setup.py -q build_ext --inplace

debug: $(VENV)/installed
	BPTT_DEBUG=1 $(BIN)/python setup.py -q build_ext --inplace

ctest: core
	$(MAKE) --no-print-directory -f tests/c/Makefile

demo: core
	$(BIN)/python examples/char_rnn.py $(if $(FILE),'$(FILE)')
	$(BIN)/python examples/char_rnn.py --sample

# ARGS goes to pytest: make test ARGS='-n0 -k windows tests/test_fit.py'
test: $(VENV)/tested core
	$(PYTEST) $(ARGS)

test-slow: $(VENV)/tested core
	$(BIN)/python -m pytest -m slow $(ARGS)

soak: core
	$(BIN)/python tests/soak.py

faults: $(VENV)/tested core
	$(BIN)/python tests/fail_malloc.py memory
	$(BIN)/python tests/fail_malloc.py objects
	unshare -rm $(abspath $(BIN))/python tests/full_disk.py
	$(BIN)/python tests/kill_save.py
	$(BIN)/python tests/kill_training.py

# its own environment, as the sanitized one: branches of csrc/ that the suite takes, all kernel sets together; fails below
# 97 % (tests/branches.py). Needs Clang, whose counters belong to the source and not to each copy of a function.
# What links the archive by flags of its own is left out, for it would need those of the counters; so is what trains for
# seconds. The counters are slow: a test with a time limit may fail, the coverage is printed all the same.
COUNTS := $(abspath build/coverage)
coverage: VENV = .venv-coverage
coverage: export BPTT_COVERAGE = 1
coverage: export CC = clang
coverage: export LDSHARED = clang -shared
coverage:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	rm -rf $(COUNTS)
	$(PIP) install '.[plot,test]' $(TORCH)
	status=0; LLVM_PROFILE_FILE=$(COUNTS)/%4m.profraw $(PYTEST) -p no:cacheprovider --ignore tests/test_link.py \
	    --ignore tests/test_docs.py --ignore tests/test_cmake.py --deselect tests/test_examples.py::test_char_rnn $(ARGS) || status=$$?; \
	$(BIN)/python tests/branches.py $(COUNTS) $(BIN)/../lib/python*/site-packages/bptt/_core*.so && exit $$status

# small faults in the core, one at a time, that the tests must notice: make mutants COUNT=60 SEED=2
COUNT ?= 300
SEED  ?= 1
mutants: $(VENV)/tested core
	$(BIN)/python tests/mutants.py $(COUNT) $(SEED)

lint: $(VENV)/linted core
	@! git grep -nE '^(<{7}|>{7}) ' # marks of a merge
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH=$(abspath $(BIN)):$$PATH cython-lint $(CYTHON)
	@$(BIN)/clang-format --dry-run --Werror $(C_FILES)
	$(BIN)/python -m mypy.stubtest bptt --mypy-config-file pyproject.toml --allowlist tests/stubtest.txt --ignore-unused-allowlist
	@set -e; for cc in gcc clang; do if command -v $$cc; then \
	    echo $(ALONE) | xargs -n 1 -P 2 $$cc -std=gnu11 -Icsrc -Isrc/bptt/include -Itests/c -fsyntax-only -Wall -Wextra -Werror -x c; \
	    CC=$$cc LDSHARED="$$cc -shared" CFLAGS=-Werror $(PIP) wheel --no-build-isolation --no-deps -w build/warnings/$$cc .; fi; done

format: $(VENV)/linted
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_FILES)

docs: $(VENV)/documented core
	$(BIN)/sphinx-build -q -E -W --keep-going docs build/docs

# Their own environment and build folders: a sanitized build must never be taken for the real one.
SANITIZED = .venv-sanitize/bin/python
.venv-sanitize/ready:
	test -x $(SANITIZED) || $(PYTHON) -m venv .venv-sanitize
	$(SANITIZED) -m pip --disable-pip-version-check -q install 'setuptools>=77' 'cython>=3.1' 'pytest>=8' 'pytest-xdist>=3.5' \
	    'hypothesis>=6' 'numpy>=1.25' 'onnx>=1.16' 'safetensors>=0.4' 'tqdm>=4.60'
	@touch $@

sanitize: sanitize-address sanitize-threads sanitize-memory

# Left out, as `make test` runs it and no C of the package runs there that does not run in other tests: converters and
# exports, whose networks are checked by forward; consumers that other build tools make; documents, examples, plots,
# releases, rules of the learning rate; kernel sets against one another, which the C programs run one by one. Tests with
# torch are skipped here.
UNSANITIZED := cmake coming_from convert docs examples export isa keras link mutate nam onnx package plot realtime release rtneural \
               schedule to_c torch torch_reset torch_tokens
sanitize-address: .venv-sanitize/ready
	BPTT_SANITIZE=address,undefined $(SANITIZED) setup.py -q build --build-lib build/address
	tests/sanitized.sh address,undefined build/address $(SANITIZED) -m pytest -n 2 --dist loadgroup -p no:cacheprovider -q \
	    $(UNSANITIZED:%=--ignore tests/test_%.py) $(ARGS)

# The C programs and the module of the suite that are about threads. These are the same for both types.
THREADED_C := threads_f32 team_f32 shards_f64
sanitize-threads: .venv-sanitize/ready
	BPTT_SANITIZE=thread $(SANITIZED) setup.py -q build --build-lib build/thread
	$$(setarch -R true 2>/dev/null && echo setarch -R) env TSAN_OPTIONS=halt_on_error=1:die_after_fork=0 \
	    $(MAKE) --no-print-directory -f tests/c/Makefile -j 2 ARCHIVE=build/thread/bptt/lib/libbptt.a BUILD=build/thread/c \
	    CFLAGS='-O1 -g1 -fsanitize=thread' $(THREADED_C:%=run-%)
	tests/sanitized.sh thread build/thread $(SANITIZED) -m pytest -n 2 -p no:cacheprovider -q tests/test_threads.py \
	    -k 'not another_thread_changes' $(ARGS) # that one changes an array while NumPy copies it

# The C programs under the best kernel set, those that reach all kernels under the portable one too.
CLANG ?= clang
MEMORY_FLAGS := -O1 -g1 -fsanitize=memory -fno-sanitize-recover=all -fno-omit-frame-pointer
sanitize-memory:
	@if command -v $(CLANG) && command -v cmake; then set -ex; \
	    cmake -S . -B build/memory -DBPTT_TESTS=ON -DCMAKE_C_COMPILER=$(CLANG) -DCMAKE_BUILD_TYPE=Debug \
	        -DCMAKE_C_FLAGS='$(MEMORY_FLAGS)'; \
	    cmake --build build/memory -j 2; \
	    ctest --test-dir build/memory -j 2 --output-on-failure; \
	    BPTT_ISA=portable ctest --test-dir build/memory -j 2 --output-on-failure -R '_(kernels|core|fuzz|packed)_'; \
	else echo "skipped: MemorySanitizer needs clang and cmake"; fi

# tests/fuzz/run.py names the targets
TIME   ?= 60
TARGET ?=

$(VENV)/fuzzed: $(VENV)/tested
	$(PIP) install atheris
	@touch $@

fuzz: $(VENV)/fuzzed core
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/python tests/fuzz/run.py $(TIME) $(TARGET)

# the instruction sets that the libraries are held to; one that this processor lacks is an error
ISAS ?= avx512 avx2

$(VENV)/benched: $(VENV)/tested
	$(PIP) install jax
	@touch $@

bench: $(VENV)/benched core
	set -e; for isa in $(ISAS); do \
	    $(BIN)/python benchmarks/train_step.py --cell tanh,lstm,gru --isa $$isa --json docs/bench-$$isa.json; done
	$(BIN)/python benchmarks/table.py $(ISAS:%=docs/bench-%.json) >build/bench.md
	$(BIN)/python benchmarks/chart.py docs/bench-$(firstword $(ISAS)).json docs/speed.png
	$(BIN)/python benchmarks/threads.py
	$(BIN)/python benchmarks/train_step.py --dtype float64 charrnn med wide large
	$(BIN)/python benchmarks/costs.py
	$(BIN)/python benchmarks/tokens.py
	$(BIN)/python benchmarks/online.py
	$(BIN)/python benchmarks/step.py

bench-quick: core
	$(BIN)/python benchmarks/train_step.py --quick

# its own environment, with pinned tools
MACHINE := $(shell uname -m)
WHEELS := .venv-wheels/bin/python
.venv-wheels/ready: wheels/requirements.txt
	$(PYTHON) -m venv .venv-wheels
	$(WHEELS) -m pip install -q -r $<
	@touch $@

wheel: .venv-wheels/ready
	$(WHEELS) wheels/build.py $(MACHINE)
	$(WHEELS) wheels/test.py wheels/dist/*$(MACHINE).whl

wheel-aarch64: .venv-wheels/ready
	$(WHEELS) wheels/build.py aarch64
	$(WHEELS) wheels/test.py wheels/dist/*aarch64.whl

sdist: .venv-wheels/ready
	$(WHEELS) wheels/build.py sdist
	$(WHEELS) wheels/test.py wheels/dist/*.tar.gz

cross: .venv-wheels/ready
	$(WHEELS) wheels/cross.py

clean:
	rm -rf build .venv .venv-coverage .venv-sanitize .venv-wheels wheels/arm64 demo src/bptt/_core.c src/bptt/*.so \
	    src/bptt/lib/*.a src/bptt/__init__.pxd src/bptt/lib/pkgconfig/bptt.pc
