"""The core built by CMake: in another project, installed, as a shared library; its flags are those of setup.py."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from test_link import INCLUDE, LINK, declared, exported, output, printed_loss, tool, trained

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.skipif(not (ROOT / "CMakeLists.txt").exists(), reason="needs the sources"),
    pytest.mark.skipif(os.name == "nt", reason="needs a POSIX C compiler"),
]


def cmake(*arguments, **env):
    return output([tool("cmake"), *arguments], **env)


def configured(source, folder, *options, build_type="Debug", **env):
    tool("c++")
    tool("make", "ninja")
    cmake("-S", source, "-B", folder, f"-DCMAKE_BUILD_TYPE={build_type}", *options, **env)
    return folder


def built(*arguments, **options):
    folder = configured(*arguments, **options)
    cmake("--build", folder, "--parallel", "2")
    return folder


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """The build folder of tests/link/fetch, and the prefix below which it installed the core."""
    folder = tmp_path_factory.mktemp("fetched")
    prefix = folder / "prefix"
    places = (f"-DCMAKE_INSTALL_PREFIX={prefix}", "-DCMAKE_INSTALL_LIBDIR=lib/of/this")
    build = built(LINK / "fetch", folder / "build", "-DBPTT_INSTALL=ON", *places)
    cmake("--install", build)
    return build, prefix


def test_a_project_that_fetches_the_core(fetched):
    build, _ = fetched
    assert printed_loss(output([build / "train"])) == pytest.approx(trained("float64"), rel=1e-9)


def test_find_package_and_pkg_config_after_installation(fetched, tmp_path):
    build, prefix = fetched
    found = built(LINK / "cmake", tmp_path / "cmake", f"-Dbptt_DIR={prefix}/lib/of/this/cmake/bptt")
    assert output([found / "train"]) == output([build / "train"])
    pkg_config = [tool("pkg-config", "pkgconf"), "--cflags", "--libs", "bptt >= 0.1"]
    flags = shlex.split(output(pkg_config, PKG_CONFIG_PATH=str(prefix / "lib/of/this/pkgconfig")))
    output([tool("cc"), LINK / "pkgconfig" / "main.c", *flags, "-o", tmp_path / "main"])
    assert printed_loss(output([tmp_path / "main"])) == pytest.approx(trained("float32"), rel=1e-3)


def test_the_installed_version_is_that_of_the_header(fetched):
    _, prefix = fetched
    parts = re.findall(r"#define BPTT_VERSION_\w+ (\d+)", (INCLUDE / "bptt.h").read_text())
    text = (prefix / "lib/of/this/cmake/bptt/bpttConfigVersion.cmake").read_text()
    assert f'set(PACKAGE_VERSION "{".".join(parts)}")' in text
    assert (prefix / "include/bptt.h").read_bytes() == (INCLUDE / "bptt.h").read_bytes()


def effective(flags):
    """What flags mean for code: the last of each kind, without paths, warnings and symbols; contraction by default."""
    version = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True).stdout
    kinds = {"-ffp-contract": "-ffp-contract=" + ("on" if "clang" in version else "fast")}
    for flag in flags:
        if re.match(r"-(O|std=|ffp|falign|fno-(math|trapping)|m|fvisibility|fPIC)", flag):
            kind = re.match(r"-O|-[\w-]+", flag)[0]
            kinds[flag if flag.startswith("-m") else kind] = flag
    return kinds


def setup_py(monkeypatch, platform=sys.platform, **environment):
    """The names of setup.py, as it would run on that platform."""
    plain = dict.fromkeys(("BPTT_SANITIZE", "BPTT_COVERAGE", "BPTT_DEBUG", "BPTT_CACHES", "CC"), "")
    for name, value in (plain | environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.chdir(ROOT)
    with mock.patch("setuptools.setup"):
        return runpy.run_path("setup.py")


@pytest.mark.parametrize("optimised", [True, False], ids=["Release", "Debug"])
def test_each_file_gets_the_flags_of_setup_py(optimised, tmp_path, monkeypatch):
    options = ("-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", f"-DCMAKE_C_FLAGS={'' if optimised else '-O0'}")
    configured(ROOT, tmp_path, *options, build_type="Release" if optimised else "Debug")
    setup = setup_py(monkeypatch)
    commands = json.loads((tmp_path / "compile_commands.json").read_text())
    found = {Path(c["file"]).relative_to(ROOT).as_posix(): effective(shlex.split(c["command"])) for c in commands}
    assert sorted(found) == setup["CSRC"]
    for source, flags in found.items():
        expected = effective(["-fPIC", *setup["FLAGS"], *setup["CORE_FLAGS"], *setup["unit_flags"](source)])
        if not optimised:
            expected = {kind: flag for kind, flag in expected.items() if kind != "-falign-loops"} | {"-O": "-O0"}
        assert flags == expected, source


def test_clang_cl_gets_the_same_flags_and_microsofts_compiler_none(monkeypatch):
    windows = {"_PYTHON_HOST_PLATFORM": "win-amd64"}
    linux = setup_py(monkeypatch, "linux", _PYTHON_HOST_PLATFORM="linux-x86_64")
    clang = setup_py(monkeypatch, "win32", CC="C:/LLVM/bin/clang-cl.exe", **windows)
    msvc = setup_py(monkeypatch, "win32", CC="gcc", **windows)
    assert "/clang:-mavx512f" in clang["unit_flags"]("csrc/kernels/avx512_f32.c")
    for source in linux["CSRC"]:
        kernel = source.startswith("csrc/kernels/")
        expected = [f"/clang:{flag}" for flag in linux["unit_flags"](source)] + ["/GS-"] * kernel
        assert clang["unit_flags"](source) == expected
        assert msvc["unit_flags"](source) == []
    assert "/experimental:c11atomics" in msvc["CORE_FLAGS"]
    assert "/experimental:c11atomics" not in clang["CORE_FLAGS"]


def test_the_page_shows_the_project_that_fetches():
    (block,) = re.findall(r"^```cmake\n(.*?)^```$", (ROOT / "docs" / "building.md").read_text("utf-8"), re.S | re.M)
    assert (LINK / "fetch" / "CMakeLists.txt").read_text("utf-8").endswith("\n\n" + block)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_shared_library_exports_the_functions_of_the_header_alone(compiler, tmp_path):
    env = {"CC": tool(compiler)}
    build = built(LINK / "subdirectory", tmp_path, "-DBPTT_SHARED=ON", build_type="Release", **env)
    assert printed_loss(output([build / "train"])) == pytest.approx(trained("float32"), rel=1e-3)
    functions = {f"bptt_{name}" for name in declared((INCLUDE / "bptt.h").read_text())}
    assert exported(build / "bptt" / "libbptt.so") == functions


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_programs_of_tests_c_pass(compiler, tmp_path):
    build = built(ROOT, tmp_path, "-DBPTT_TESTS=ON", build_type="Release", CC=tool(compiler))
    text = output([tool("ctest"), "--output-on-failure"], cwd=build)
    assert "100% tests passed" in text
    archive = output([tool("nm"), "-g", "--defined-only", build / "libbptt.a"])
    symbols = {line.split()[2] for line in archive.splitlines() if len(line.split()) == 3}
    assert all(name.startswith("bptt_") for name in symbols)
