"""The C core without Python: compiles each program of tests/c against the header and the archive that the package
ships, and runs it under every kernel set.

BPTT_SANITIZE=address,undefined compiles the programs with those sanitizers; the archive should have been built so too.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import bptt

PACKAGE = Path(bptt.__file__).parent
PROGRAMS = sorted((Path(__file__).parent / "c").glob("*.c"))
SANITIZE = os.environ.get("BPTT_SANITIZE", "")
NO_SUCH_SET = 77  # exit code: BPTT_ISA names no kernel set that runs here

pytestmark = pytest.mark.skipif(os.name == "nt" or not shutil.which("cc"), reason="needs a POSIX C compiler")


def environment(isa=None):
    """The environment of a child: no preloaded sanitizer (the program brings its own), and only this kernel set."""
    env = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "BPTT_ISA")}
    return env if isa is None else env | {"BPTT_ISA": isa}


def run(command, isa=None):
    return subprocess.run(command, env=environment(isa), capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module", params=PROGRAMS, ids=lambda path: path.stem)
def program(request, tmp_path_factory):
    target = tmp_path_factory.mktemp("c") / request.param.stem
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    if SANITIZE:
        flags += [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all", "-g"]
    archive = PACKAGE / "lib" / "libbptt.a"
    link = [str(archive), "-lm", "-pthread", "-o", str(target)]
    built = run(["cc", *flags, f"-I{PACKAGE / 'include'}", str(request.param), *link])
    assert built.returncode == 0, built.stderr
    return target


def test_programs_found():
    names = "core threads tapes dropout fuzz clip loss optim status"
    assert {path.stem for path in PROGRAMS} >= {f"test_{name}" for name in names.split()}


@pytest.mark.parametrize("isa", [None, "portable", "generic", "neon", "avx2", "avx512"])
def test_program(program, isa):
    result = run([str(program)], isa)
    if result.returncode == NO_SUCH_SET and isa not in (None, "portable"):
        pytest.skip(f"{isa} does not run here")
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    last = re.fullmatch(r"(\w+): (\d+) checks passed", result.stdout.splitlines()[-1])
    assert last, result.stdout[-400:]
    assert isa in (None, last[1])
    assert int(last[2]) > 0


def test_unknown_kernel_set(program):
    result = run([str(program)], "no-such-set")
    assert result.returncode == NO_SUCH_SET, result.stdout[-4000:] + result.stderr[-4000:]
