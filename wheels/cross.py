"""Compiles the C core and its test programs for other systems by zig, without a warning, and runs the programs where
an emulator is installed: python wheels/cross.py [TARGET ...]"""

import itertools
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
ZIG = [sys.executable, "-m", "ziglang", "cc"]
STRICT = ["-O2", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wvla", "-Werror"]
PLAIN = "no-gnu"  # Linux without __GNUC__ and __clang__: the core has nothing but C11, as for MSVC
EMULATORS = {  # target: what runs its programs ([] where this machine does)
    "x86_64-linux-gnu.2.17": [],
    "x86_64-linux-musl": [],
    PLAIN: [],
    "aarch64-linux-musl": ["qemu-aarch64-static"],
    "x86_64-windows-gnu": ["wine"],
    "aarch64-windows-gnu": None,
    "x86_64-macos": None,
    "aarch64-macos": None,
}


def unit_flags(target):
    """The function of that name in setup.py; its flags for aarch64 suit PLAIN too."""
    machine = "x86_64" if target.startswith("x86_64") else "aarch64"
    with mock.patch("setuptools.setup"), mock.patch.dict(os.environ, _PYTHON_HOST_PLATFORM=f"linux-{machine}"):
        return runpy.run_path(str(ROOT / "setup.py"))["unit_flags"]


def check(target, folder):
    name = "x86_64-linux-musl" if target == PLAIN else target
    compiler = [*ZIG, "-target", name, *STRICT, f"-I{ROOT / 'src/bptt/include'}", f"-I{ROOT / 'csrc'}"]
    # without __GNUC__ musl's INFINITY is 1e5000f, and LOCAL has no attribute
    compiler += ["-fgnuc-version=0", "-U__clang__", "-Wno-literal-range", "-Wno-unused-function"] * (target == PLAIN)
    flags_of, objects = unit_flags(target), []
    for source in sorted((ROOT / "csrc").rglob("*.c")):
        objects.append(folder / f"{source.parent.name}_{source.stem}.o")
        subprocess.run([*compiler, *flags_of(source), "-c", source, "-o", objects[-1]], check=True)
    emulator = EMULATORS[target]
    runs = emulator is not None and all(map(shutil.which, emulator))
    for source, bits in itertools.product(sorted((ROOT / "tests/c").glob("*.c")), (32, 64)):
        program = folder / f"{source.stem}_f{bits}.exe"
        command = [*compiler, "-O1", f"-DREAL_BITS={bits}", f"-I{ROOT / 'tests/c'}", source, *objects, "-lm"]
        subprocess.run([*command, "-o", program], check=True)
        if runs:
            environment = {**os.environ, "WINEDEBUG": "-all"}
            run = subprocess.run([*emulator, program], capture_output=True, text=True, env=environment)
            assert run.returncode == 0, f"code {run.returncode}: {run.stdout[-2000:]}{run.stderr[-2000:]}"
            print(f"  {program.stem}: {run.stdout.splitlines()[-1]}", flush=True)
    print(f"{target}: compiled and linked" + (", ran" * runs), flush=True)


for target in sys.argv[1:] or EMULATORS:
    with tempfile.TemporaryDirectory() as folder:
        check(target, Path(folder))
