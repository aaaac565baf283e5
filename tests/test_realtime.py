"""A step is fit for a real-time thread by the list of Clang's RealtimeSanitizer, too. tests/c/test_realtime.c counts
calls of malloc, locks and system calls itself, with any compiler."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import bptt

SOURCE = Path(__file__).parent / "c" / "test_realtime.c"
PACKAGE = Path(bptt.__file__).parent
CLANGS = ["clang", *(f"clang-{version}" for version in range(29, 19, -1))]


@pytest.fixture(scope="module")
def clang(tmp_path_factory):
    """A Clang that has the sanitizer."""
    empty = tmp_path_factory.mktemp("clang") / "empty.c"
    empty.write_text("int main(void) { return 0; }\n")
    for name in filter(shutil.which, CLANGS):
        command = [name, "-fsanitize=realtime", str(empty), "-o", str(empty.with_suffix(""))]
        if subprocess.run(command, capture_output=True).returncode == 0:
            return name
    pytest.skip("needs a Clang with -fsanitize=realtime: 20 or later")


@pytest.mark.skipif(bool(os.environ.get("BPTT_SANITIZE")), reason="the archive has another sanitizer")
@pytest.mark.parametrize("bits", [32, 64])
def test_realtime_sanitizer(clang, bits, tmp_path):
    program = tmp_path / "realtime"
    flags = ["-O1", "-std=gnu2x", "-fsanitize=realtime", f"-DREAL_BITS={bits}", f"-I{PACKAGE / 'include'}"]
    archive = PACKAGE / "lib" / "libbptt.a"
    subprocess.run([clang, *flags, str(SOURCE), str(archive), "-lm", "-pthread", "-o", str(program)], check=True)
    result = subprocess.run([str(program)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert "RealtimeSanitizer" not in result.stderr
