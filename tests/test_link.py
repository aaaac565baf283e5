"""The doors into the core: each consumer of tests/link is built as its first comment says, from the package that is
imported (in place or installed), and gets the loss that the same training gets in Python.

BPTT_SANITIZE=address,undefined builds what links the archive with those sanitizers; itself built so, too.
"""

import ctypes
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import bptt
from bptt import _core

LINK = Path(__file__).parent / "link"
PACKAGE = Path(bptt.__file__).resolve().parent
INCLUDE = Path(bptt.get_include())
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
SANITIZE = os.environ.get("BPTT_SANITIZE", "")
SANITIZED = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"] if SANITIZE else []
PYTHON_HEADERS = sysconfig.get_path("include")
SHARED = ["-shared", "-fPIC", *(["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else [])]
ZIG = [sys.executable, "-m", "ziglang"]
COMPILERS = {"gcc": ["gcc"], "clang": ["clang"], "zig": [*ZIG, "cc"]}
CXX = {"gcc": ["g++"], "clang": ["clang++"], "zig": [*ZIG, "c++"]}


def is_there(compiler):
    if SANITIZE:
        return compiler == "gcc"  # the archive has the sanitizers of gcc
    return bool(importlib.util.find_spec("ziglang") if compiler == "zig" else shutil.which(compiler))


THERE = [compiler for compiler in COMPILERS if is_there(compiler)]

pytestmark = pytest.mark.skipif(os.name == "nt" or not THERE, reason="needs a POSIX C compiler")


def tool(*names):
    """The first of these programs that is there, those of this environment before the system's."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    return found or pytest.skip(f"needs {' or '.join(names)}")


def output(command, *, preloaded=False, cwd=None, **env):
    """What a command prints; only what loads the sanitized module gets the sanitizers' libraries preloaded."""
    environment = {name: value for name, value in os.environ.items() if preloaded or name != "LD_PRELOAD"} | env
    result = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, f"{command}\n{result.stdout[-4000:]}{result.stderr[-4000:]}"
    return result.stdout


def python(*arguments, **options):
    return output([sys.executable, *arguments], preloaded=True, **options)


def path(*folders):
    """A PYTHONPATH of these, of this package, and of what there was."""
    return os.pathsep.join([*map(str, folders), str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])


def asked(*flags):
    return shlex.split(python("-m", "bptt", *flags))


def has_python_headers():
    compiler = [*COMPILERS[THERE[0]], "-E", "-xc", "-", f"-I{PYTHON_HEADERS}"]  # an emulated Python sees other files
    plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return subprocess.run(compiler, input=b"#include <Python.h>\n", env=plain, capture_output=True).returncode == 0


def trained(dtype, B=4):
    """The loss that the consumers must get."""
    T, I, H = 20, 2, 16

    def number(i):
        return (i * 37 % 101 - 50) / 128

    rnn = bptt.RNN(I, H, I, dtype=dtype)
    x = number(np.arange(T * B * I) ** 2).reshape(T, B, I)
    target = np.concatenate([np.zeros((1, B, I)), x[:-1]])
    rnn.params[:] = number(np.arange(rnn.params.size))
    optimizer = bptt.Adam(rnn.params, rnn.grads, lr=1e-2)
    for _ in range(40):
        y, _ = rnn.forward(x)
        loss, dy = bptt.mse(y, target)
        rnn.zero_grad()
        rnn.backward(dy)
        rnn.clip_grad_norm(1.0)
        optimizer.step()
    assert loss < 0.1
    return loss


def printed_loss(text):
    return float(re.fullmatch(r"loss (\S+)\n", text)[1])


@pytest.fixture(params=THERE)
def compiler(request):
    """The name of a compiler that is there."""
    return request.param


def command_of(compiler, cxx):
    command = (CXX if cxx else COMPILERS)[compiler]
    tool(command[0])
    return command


def compiled(compiler, source, target, flags, *, cxx=False):
    language = ["-xc++", "-std=c++17"] if cxx else ["-xc", "-std=c99"]
    output([*command_of(compiler, cxx), "-O0", *language, *STRICT, source, "-xnone", *flags, "-o", target])
    return target


def module(compiler, folder, flags=(), *, include=INCLUDE, cxx=False):
    """tests/link/capsule compiled into `folder`."""
    if not has_python_headers():
        pytest.skip("needs Python.h")
    flags = [*SHARED, f"-I{include}", "-isystem", PYTHON_HEADERS, *flags]
    return compiled(compiler, LINK / "capsule" / "trains.c", folder / "trains.so", flags, cxx=cxx)


TRAINS = "import trains; print('loss', repr(trains.train()))"


# ---- the doors -------------------------------------------------------------------------------------------


def test_c_by_pkg_config(compiler, tmp_path):
    directory = asked("--pkgconfigdir")[0]
    flags = output([tool("pkg-config", "pkgconf"), "--cflags", "--libs", "bptt >= 0.1"], PKG_CONFIG_PATH=directory)
    flags = [*shlex.split(flags), *SANITIZED]
    program = compiled(compiler, LINK / "pkgconfig" / "main.c", tmp_path / "main", flags)
    assert printed_loss(output([program])) == trained("float32")


def test_c_by_python_m_bptt(compiler, tmp_path):
    flags = [*asked("--cflags", "--libs"), *SANITIZED]
    program = compiled(compiler, LINK / "pkgconfig" / "main.c", tmp_path / "main", flags)
    assert printed_loss(output([program])) == trained("float32")


@pytest.mark.parametrize("ranks", [1, 2])
def test_c_by_mpi(ranks, tmp_path):
    compiler, mpiexec = tool("mpicc"), tool("mpiexec")
    if SANITIZE:
        pytest.skip("MPI's own memory is not for the sanitizers")
    source, flags = LINK / "mpi" / "main.c", asked("--cflags", "--libs")
    output(
        [
            compiler,
            "-O0",
            "-std=c99",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unused-function",
            source,
            *flags,
            "-o",
            tmp_path / "main",
        ]
    )
    more = ["--allow-run-as-root", "--oversubscribe"] if "Open" in output([mpiexec, "--version"]) else []
    loss = printed_loss(output([mpiexec, *more, "-n", ranks, tmp_path / "main"]))
    np.testing.assert_allclose(loss, trained("float32", 4 * ranks), rtol=1e-3)


def test_pkg_config_finds_the_package_by_its_entry_point():
    (entry,) = (entry for entry in entry_points(group="pkg_config") if entry.name == "bptt")
    assert (files(entry.value) / "bptt.pc").is_file()


def test_cpp_by_cmake(tmp_path):
    cmake = tool("cmake")
    tool("c++")
    tool("make", "ninja")
    directory = f"-Dbptt_DIR={asked('--cmakedir')[0]}"
    flags = f"-DCMAKE_CXX_FLAGS={' '.join([*STRICT, *SANITIZED])}"
    output([cmake, "-S", LINK / "cmake", "-B", tmp_path, directory, flags])
    output([cmake, "--build", tmp_path])
    assert printed_loss(output([tmp_path / "train"])) == trained("float64")


@pytest.fixture(scope="module")
def cython(tmp_path_factory):
    """The folder with the built modules of tests/link/cython."""
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    if not has_python_headers():
        pytest.skip("needs Python.h")
    folder = tmp_path_factory.mktemp("link") / "cython"
    shutil.copytree(LINK / "cython", folder)
    flags = " ".join(["-O0", *SANITIZED])
    python("setup.py", "-q", "build_ext", "--inplace", cwd=folder, CFLAGS=flags, LDFLAGS=flags, PYTHONPATH=path())
    return folder


@pytest.mark.parametrize("name", ["by_capsule", "by_archive"])
def test_cython(cython, name):
    text = python("-c", f"import {name} as trains; print('loss', repr(trains.train()))", PYTHONPATH=path(cython))
    assert printed_loss(text) == trained("float32")


@pytest.mark.parametrize("cxx", [False, True], ids=["c", "c++"])
def test_capsule(compiler, cxx, tmp_path):
    module(compiler, tmp_path, cxx=cxx)
    assert printed_loss(python("-c", TRAINS, PYTHONPATH=path(tmp_path))) == trained("float32")


@pytest.mark.parametrize("flags", ["0", "os.RTLD_NOW | os.RTLD_GLOBAL"])
def test_modules_that_link_the_archive_live_with_each_other_and_with_the_package(cython, flags, tmp_path):
    module(THERE[0], tmp_path, ["-DBPTT_LINKED", *asked("--libs"), *SANITIZED])
    script = f"import os, sys; sys.setdlopenflags({flags} or sys.getdlopenflags())\n" + (
        "import by_archive, bptt, trains, by_capsule\n"
        "loss, _ = bptt.mse([[1.0]], [[0.0]])\n"
        "print(loss, *{m.train() for _ in range(3) for m in (by_archive, trains, by_capsule)})"
    )
    assert python("-c", script, PYTHONPATH=path(cython, tmp_path)).split() == ["1.0", repr(trained("float32"))]


# ---- what is exported, and what is declared where -----------------------------------------------------------


def exported(library):
    lines = output([tool("nm"), "-D", "--defined-only", library]).splitlines()
    return {name for name in (line.split()[-1] for line in lines) if not name.startswith(("__", "_init", "_fini"))}


@pytest.mark.skipif(sys.platform != "linux", reason="needs ELF")
def test_modules_export_their_init_function_only(tmp_path):
    assert exported(_core.__file__) == {"PyInit__core"}
    linked = module(THERE[0], tmp_path, ["-DBPTT_LINKED", *asked("--libs"), *SANITIZED])
    assert exported(linked) == {"PyInit_trains"}


@pytest.mark.parametrize("language", [["-xc", "-std=c99"], ["-xc", "-std=c11"], ["-xc++", "-std=c++17"]], ids=str)
@pytest.mark.parametrize("header", ["bptt.h", "bptt_capsule.h", "bptt_capsule.h -DBPTT_LINKED"])
def test_headers_compile_alone(compiler, header, language, tmp_path):
    header, *macros = header.split()
    if "capsule" in header and not has_python_headers():
        pytest.skip("needs Python.h")
    source = tmp_path / "alone"
    source.write_text(f"#include <{header}>\n")
    command = command_of(compiler, "-xc++" in language)
    flags = [*macros, f"-I{INCLUDE}", "-isystem", PYTHON_HEADERS]
    output([*command, *language, *STRICT, *flags, "-c", source, "-o", tmp_path / "alone.o"])


def declared(header):
    return re.findall(r"BPTT_API [^;(]*?bptt_(\w+)\(", header)


def table_of(capsule_header):
    """The functions of the capsule's table, in order."""
    listed = re.search(r"#define BPTT_FUNCTIONS\(F\)(.*?[^\\])\n", capsule_header, re.S)[1]
    return re.findall(r"F\((\w+)\)", listed)


def structs(header):
    """{struct: its members in order}, without comments."""
    header = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    found = re.findall(r"typedef struct (\w+) \{(.*?)\} \w+;", header, re.S)
    return {name: re.findall(r"[^;\s][^;]*(?=;)", body) for name, body in found}


def test_header_cython_declarations_and_capsule_have_the_same_functions():
    """And so has the archive: test_package.py."""
    functions = declared((INCLUDE / "bptt.h").read_text())
    assert len(functions) > 30
    capsule = (INCLUDE / "bptt_capsule.h").read_text()
    assert sorted(table_of(capsule)) == sorted(functions)
    names = re.findall(r"#define bptt_(\w+) \(\*bptt_functions->(\w+)\)", capsule)
    assert [a for a, _ in names] == [b for _, b in names] == table_of(capsule)
    pxd = (PACKAGE / "__init__.pxd").read_text()
    assert declared(pxd) == functions
    assert re.findall(r"^    [\w *]+?bptt_(\w+)\(", pxd.split("cdef extern from * nogil:")[1], re.M) == functions


def test_cython_declarations_have_the_structs_of_the_header():
    pxd = (PACKAGE / "__init__.pxd").read_text()
    header = structs((INCLUDE / "bptt.h").read_text())
    assert header
    assert header.items() <= structs(pxd).items()
    for name, members in header.items():
        body = re.search(rf"ctypedef struct {name}:\n((?: {{8}}.*\n)+)", pxd)[1]
        assert [line.strip().removesuffix(" noexcept nogil") for line in body.splitlines()] == members


def test_table_is_filled():
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    functions = table_of((INCLUDE / "bptt_capsule.h").read_text())

    class Table(ctypes.Structure):
        _fields_ = [
            ("struct_size", ctypes.c_size_t),
            ("abi", ctypes.c_int64),
            *((f, ctypes.c_void_p) for f in functions),
        ]

    table = Table.from_address(pointer(_core._C_API, b"bptt._core._C_API"))
    assert (table.struct_size, table.abi) == (ctypes.sizeof(Table), 1)
    addresses = [getattr(table, function) for function in functions]
    assert None not in addresses
    assert len(set(addresses)) == len(addresses)
    assert ctypes.CFUNCTYPE(ctypes.c_char_p)(table.version)().decode() == bptt.__version__


# ---- other headers: a program with smaller structs is in tests/c/test_errors.c -----------------------------------


def later_headers(folder, *replacements):
    """The headers with something changed."""
    for header in INCLUDE.glob("*.h"):
        text = header.read_text()
        for old, new in replacements:
            text = text.replace(old, new)
        (folder / header.name).write_text(text)
    return folder


@pytest.mark.parametrize(
    "replacements, reason",
    [
        ([("#define BPTT_ABI 1\n", "#define BPTT_ABI 2\n")], r"\(ABI 2, {n} functions\).*\(ABI 1, {n} functions\)"),
        (
            [
                ("/* ---- windows", "BPTT_API void bptt_later(void);\n/* ---- windows"),
                ("\n/* clang-format on */", " \\\n    F(later)\n/* clang-format on */"),  # at the end of the list
            ],
            r"\(ABI 1, {more} functions\).*\(ABI 1, {n} functions\)",
        ),
    ],
    ids=["abi", "function"],
)
def test_module_of_later_headers_says_so_at_import(replacements, reason, tmp_path):
    module(THERE[0], tmp_path, include=later_headers(tmp_path, *replacements))
    script = "try: import trains\nexcept ImportError as error: print(error)"
    n = len(table_of((INCLUDE / "bptt_capsule.h").read_text()))
    text = python("-c", script, PYTHONPATH=path(tmp_path))
    assert re.search(r"compiled for bptt [\d.]+ " + reason.format(n=n, more=n + 1), text), text
    assert f"the installed bptt is {bptt.__version__}" in text


# ---- lifetime ------------------------------------------------------------------------------------------------


def test_networks_come_and_go_without_leaks_and_a_forked_child_trains(tmp_path):
    tool("gcc")
    sanitizers = SANITIZED or ["-fsanitize=address"]
    flags = ["-D_POSIX_C_SOURCE=200809L", "-g", *asked("--cflags", "--libs"), *sanitizers]
    program = compiled("gcc", LINK / "lifetime.c", tmp_path / "lifetime", flags)
    options = {"ASAN_OPTIONS": "detect_leaks=1"}
    leaks = subprocess.run(
        [program, "leak"], env=os.environ | options | {"LD_PRELOAD": ""}, capture_output=True, text=True
    )
    if "4000 byte(s) leaked in 1 allocation(s)" not in leaks.stderr:
        pytest.skip(f"leaks are not counted here: {leaks.stderr[-300:]}")
    output([program], **options)


# ---- python -m bptt ------------------------------------------------------------------------------------------


def test_info():
    text = python("-m", "bptt", "--info")
    assert f"version: {bptt.__version__}\n" in text
    assert f"kernels: {_core.isa()} (of " in text
    assert f"headers: {bptt.get_include()}\nlibrary: {bptt.get_lib_dir()}\n" in text


def test_version():
    assert python("-m", "bptt", "--version") == f"{bptt.__version__}\n"


def test_without_a_question_it_names_the_choices():
    result = subprocess.run([sys.executable, "-m", "bptt"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "expected one of --cflags, --libs, --pkgconfigdir, --cmakedir, --info, or export" in result.stderr
