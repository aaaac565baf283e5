"""Tests built wheels or an sdist, installed: python wheels/test.py FILE [PYTEST-OPTION ...]

A wheel is tested on every CPython >= 3.11 of this machine (those on the PATH and pyenv's), each in a new environment;
an sdist is built and tested on the one that runs this; an aarch64 wheel on the Python of arm64.sh under qemu. The tests
are copied, so that nothing of the source tree can be imported.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ARM64 = HERE / "arm64"
QUIET = ("-q", "--disable-pip-version-check")
COPIED = ("tests", "docs", "examples", "README.md", "CHANGELOG.md", "pyproject.toml")
ASK = """import ensurepip, platform, sys, sysconfig
assert sys.version_info >= (3, 11) and platform.python_implementation() == "CPython" and sys.prefix == sys.base_prefix
print(sys.version.split()[0] + "t" * bool(sysconfig.get_config_var("Py_GIL_DISABLED")))"""


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, **options)


def pythons():
    """{version: path}, one for each minor version and threading."""
    found = {}
    named = [shutil.which(f"python3.{minor}") for minor in range(11, 30)]
    for path in [*Path.home().glob(".pyenv/versions/*/bin/python3"), *filter(None, named)]:
        answer = subprocess.run([path, "-c", ASK], capture_output=True, text=True, cwd="/")
        if answer.returncode == 0:
            version = answer.stdout.strip()
            found.setdefault((version.split(".")[1], version[-1] == "t"), (version, path))
    return dict(sorted(found.values()))


def native(file, python, folder):
    """A new environment with the file installed; its Python."""
    run(python, "-m", "venv", folder / "venv")
    installed = folder / "venv/bin/python"
    run(installed, "-m", "pip", "install", *QUIET, f"{file}[test]")
    return installed, os.environ


def emulated(file, folder):
    """The arm64 Python as a program of this machine: what it starts is emulated too, also what it compiles."""
    bin, site = folder / "bin", folder / "site"
    bin.mkdir()
    (libpython,) = (ARM64 / "usr/lib").glob("python3.*")
    version = libpython.name.removeprefix("python")
    platforms = [f"--platform=manylinux{glibc}_aarch64" for glibc in ("2014", "_2_17", "_2_27", "_2_28")]
    options = ["--target", site, "--only-binary=:all:", "--python-version", version, *platforms]
    run(sys.executable, "-m", "pip", "install", *QUIET, *options, f"{file}[test]")
    shutil.rmtree(site / "onnxruntime", ignore_errors=True)  # crashes under qemu; without it its tests are skipped
    qemu = f"qemu-aarch64-static -L {ARM64}"
    scripts = {"python3": f'exec {qemu} -0 "$0" {ARM64}/usr/bin/python{version} "$@"'}
    for language, names in {"cc": ("cc", "gcc", "clang"), "c++": ("c++", "g++", "clang++")}.items():
        compiler = f'exec {HERE}/arm64_compiler.sh {sys.executable} {language} "{qemu}" "$@"'
        scripts |= dict.fromkeys(names, compiler)
    for name, text in scripts.items():
        (bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (bin / name).chmod(0o755)
    return bin / "python3", {**os.environ, "PATH": f"{bin}:{os.environ['PATH']}", "PYTHONPATH": str(site)}


def test(version, prepare, options):
    print(f"---- {version}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        python, environment = prepare(folder)
        work = folder / "work"
        work.mkdir()
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, work / name)
        where = run(python, "-c", "import bptt; print(bptt.__file__)", cwd=work, env=environment, capture_output=True)
        assert Path(where.stdout.decode()).is_relative_to(folder), where.stdout
        run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, cwd=work, env=environment)


def main(file, *options):
    file = Path(file).resolve()
    if "aarch64" in file.name and platform.machine() != "aarch64":
        leaks = "tests/test_link.py::test_networks_come_and_go_without_leaks_and_a_forked_child_trains"
        demo = "tests/test_examples.py::test_char_rnn"
        # zig has no AddressSanitizer to link, and six seconds of training are none under qemu
        options = [f"--deselect={leaks}", f"--deselect={demo}", *options]
        test("aarch64", lambda folder: emulated(file, folder), options)
    elif file.suffix == ".whl":
        for version, python in pythons().items():
            if "abi3" in file.name and not version.endswith("t"):
                test(version, lambda folder, python=python: native(file, python, folder), options)
    else:
        test(sys.version.split()[0], lambda folder: native(file, sys.executable, folder), options)


main(*sys.argv[1:])
