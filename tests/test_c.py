"""The C core without Python: compiles each program of tests/c once per scalar type against the header and the archive
that the package ships, and runs it under every kernel set. tests/c/Makefile builds and runs them without Python.

BPTT_SANITIZE=address,undefined compiles the programs with those sanitizers; the archive should have been built so too.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import bptt
from bptt import _core

PACKAGE = Path(bptt.__file__).parent
HERE = Path(__file__).parent / "c"
CSRC = HERE.parents[1] / "csrc"  # not there when the tests run beside an installed package
NAMES = [path.stem.removeprefix("test_") for path in sorted(HERE.glob("test_*.c"))]
INSIDE = ("kernels", "team")  # the programs that look inside the core
SANITIZE = os.environ.get("BPTT_SANITIZE", "")
NO_SUCH_SET = 77  # exit code: BPTT_ISA names no kernel set that runs here
SETS = ("portable", "generic", "neon", "avx2", "avx512")
FLAGS = ["-Og", "-Wall", "-Wextra", "-Werror"]  # -O1 runs a tenth faster, but compiles three times as long

# With sanitizers all programs run under the best set, in float32 under the portable one too; those whose sizes reach
# all kernels run under every set in both types.
KERNEL_PROGRAMS = ("kernels", "core", "fuzz", "packed")

posix = pytest.mark.skipif(os.name == "nt" or not shutil.which("cc"), reason="needs a POSIX C compiler")


def run(command, isa=None):
    """Without a preloaded sanitizer (the program brings its own), and under this kernel set alone."""
    env = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "BPTT_ISA")}
    env |= {} if isa is None else {"BPTT_ISA": isa}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)


def compile_program(name, bits, target):
    flags = [*FLAGS, f"-DREAL_BITS={bits}", f"-I{PACKAGE / 'include'}"]
    if name in INSIDE:
        flags += ["-std=gnu11", f"-I{CSRC}", f"-I{HERE}"]
    else:
        flags += ["-std=c11", "-Wpedantic"]
    if SANITIZE:
        flags += [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all", "-g1"]
    if os.environ.get("BPTT_COVERAGE"):
        flags += ["-fprofile-instr-generate"]  # the archive asks for Clang's run-time library
    files = [str(HERE / f"test_{name}.c"), str(PACKAGE / "lib" / "libbptt.a"), "-o", str(target)]
    built = run([*os.environ.get("CC", "cc").split(), *flags, *files, "-lm", "-pthread"])
    assert built.returncode == 0, built.stderr


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A directory for programs, the same for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "c"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture
def program(folder, name, bits):
    """The program, compiled when it is first asked for. It gets its name when it is complete, so that workers that
    compile it at the same time do not disturb each other."""
    if name in INSIDE and not CSRC.is_dir():
        pytest.skip("needs csrc/")
    target = folder / f"{name}_f{bits}"
    if not target.exists():
        partial = folder / f"{target.name}.{os.getpid()}"
        compile_program(name, bits, partial)
        partial.replace(target)
    return target


def check_output(result, isa):
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    last = re.fullmatch(r"(\w+): (\d+) checks passed", result.stdout.splitlines()[-1])
    assert last, result.stdout[-400:]
    assert isa in (None, last[1])
    assert int(last[2]) > 0


def test_programs_found():
    expected = ["clip", "core", "cuts", "dropout", "errors", "fuzz", "loss", "optim", "spec", "tapes", "threads"]
    assert {*expected} <= {*NAMES}


@posix
@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", NAMES)
def test_program(program, name, bits, isa):
    slow = SANITIZE or os.environ.get("BPTT_COVERAGE")
    if slow and name == "threads" and isa == "portable":
        pytest.skip("a minute for threads that the faster sets show as well")
    enough = isa == _core.isa_choices()[-1] or (isa == "portable" and bits == 32)
    if SANITIZE and not enough and name not in KERNEL_PROGRAMS:
        pytest.skip("what is above the kernels runs under other sets already")
    result = run([str(program)], isa)
    if result.returncode == NO_SUCH_SET and isa != "portable":
        pytest.skip(f"{isa} does not run here")
    check_output(result, isa)


@posix
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("isa", [None, ""])
@pytest.mark.parametrize("name", ["spec"])
def test_default_kernel_set(program, isa):
    """test_spec.c checks that it is the best; what the other programs then do is what they do when it is named."""
    check_output(run([str(program)], isa), None)


@posix
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", NAMES)
def test_unknown_kernel_set(program):
    result = run([str(program)], "no-such-set")
    assert result.returncode == NO_SUCH_SET, result.stdout[-4000:] + result.stderr[-4000:]


@pytest.mark.skipif(not CSRC.is_dir(), reason="needs csrc/")
def test_every_function_of_the_header_is_found_in_the_sources_by_its_name():
    """Where it is defined; a definition for both types has a comment with both names."""
    header = (PACKAGE / "include" / "bptt.h").read_text()
    declared = re.findall(r"^BPTT_API\b[^;(]*?\b(bptt_\w+)\(", header, re.M)
    assert len(declared) > 30
    sources = "".join(path.read_text() for path in CSRC.rglob("*.[ch]"))
    assert [name for name in declared if f"{name}(" not in sources] == []
