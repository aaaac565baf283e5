"""Builds the C core (one object per .c file of csrc/, some for one instruction set), libbptt.a of these objects, the
extension module that links the same objects, and what is made of the headers: the .pxd that other modules cimport, and
the pkg-config file. A wheel has an SBOM (wheels/sbom.py).

Only what a changed file or flag reaches is compiled again: beside each object lies a list of the files it was made of,
and each set of flags has a folder in build/objects. build/compile_commands.json tells editors how.

BPTT_SANITIZE=address,undefined builds everything with those sanitizers; BPTT_COVERAGE=1 the core with Clang's
counters for coverage (CC=clang); BPTT_DEBUG=1 everything with symbols and without optimisation. BPTT_CACHES=16,128
for an L1 and L2 of so many kB. On Windows CC=clang-cl (a path, or a name on the PATH) compiles everything with it,
vector kernels included; Microsoft's compiler knows the portable ones only.
"""

import hashlib
import json
import os
import re
import runpy
import shutil
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

INCLUDE = Path("src/bptt/include")
CSRC = sorted(path.as_posix() for path in Path("csrc").rglob("*.c"))
HEADERS = sorted(path.as_posix() for path in [*Path("csrc").rglob("*.h"), *INCLUDE.glob("*.h")])
BINDINGS = sorted(path.as_posix() for path in Path("src/bptt/bindings").glob("*.pxi"))
MODULE = "src/bptt/_core.pyx"
INCLUDE_DIRS = ["csrc", INCLUDE.as_posix()]
VERSION = ".".join(re.findall(r"#define BPTT_VERSION_\w+ (\d+)", (INCLUDE / "bptt.h").read_text()))
SANITIZE = os.environ.get("BPTT_SANITIZE", "")
COVERAGE = os.environ.get("BPTT_COVERAGE", "")
DEBUG = os.environ.get("BPTT_DEBUG", "")
CACHES = os.environ.get("BPTT_CACHES", "")
MSVC = sys.platform == "win32"
CC = os.environ.get("CC", "")
CLANG_CL = MSVC and Path(CC).stem == "clang-cl"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
ABI3 = not FREE_THREADED
ARCHIVE = Path("bptt/lib") / ("bptt.lib" if MSVC else "libbptt.a")
PXD = Path("bptt/__init__.pxd")
PC = Path("bptt/lib/pkgconfig/bptt.pc")

if MSVC:  # /std:c11 brings the standard's preprocessor; without /GL- no other version of the linker takes the archive
    FLAGS = ["/O2"]
    CORE_FLAGS = ["/std:c11", "/GL-", "/D_CRT_SECURE_NO_WARNINGS", *["/experimental:c11atomics"] * (not CLANG_CL)]
    CORE_FLAGS += ["/clang:-fno-math-errno", "/clang:-fno-trapping-math"] * CLANG_CL
elif SANITIZE:
    FLAGS = ["-O1", "-g1", f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    CORE_FLAGS = ["-std=gnu11"]
elif COVERAGE or DEBUG:
    FLAGS = ["-O1"] if COVERAGE else ["-Og", "-g"]
    CORE_FLAGS = ["-std=gnu11", *["-fprofile-instr-generate", "-fcoverage-mapping"] * bool(COVERAGE)]
else:
    FLAGS, CORE_FLAGS = ["-O3", "-g0"], ["-std=gnu11"]
OPTIMISED = MSVC or FLAGS[0] == "-O3"
if not MSVC:
    FLAGS += ["-fvisibility=hidden"]
    CORE_FLAGS += ["-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra"]
    # a build for debuggers has them (BPTT_DEBUG): nothing in C unwinds the stack
    CORE_FLAGS += ["-fno-unwind-tables", "-fno-asynchronous-unwind-tables"] * OPTIMISED

if CACHES:
    CORE_FLAGS += [f"-DBPTT_{name}_KB={int(size)}" for name, size in zip(("L1", "L2"), CACHES.split(","), strict=True)]

PLATFORM = sysconfig.get_platform()  # of the target where that is another machine
X86 = PLATFORM.endswith(("x86_64", "amd64", "i686", "win32", "universal2"))
SET_FLAGS = {  # of a kernel set, by the name of its files up to the type
    "avx2": ["-mavx2", "-mfma", "-fno-wrapv"],  # with Python's -fwrapv GCC aligns few loops; AVX-512 gains nothing
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mprefer-vector-width=512"],
}


def unit_flags(source):
    """What one file of the core needs beyond the flags of all: its instruction set; contraction to fused multiply-add
    only in kernels, where it is GCC's default and vec.h says it to Clang."""
    if MSVC and not CLANG_CL:
        return []
    kernels, name = Path(source).parent.name == "kernels", Path(source).stem.rsplit("_", 1)[0]
    flags = SET_FLAGS.get(name, []) if X86 and kernels else []
    if sys.platform == "darwin":  # one compilation may be for both processors
        flags = [word for flag in flags for word in ("-Xarch_x86_64", flag)]
    flags = [*flags, *["-ffp-contract=off"] * (not kernels)]
    if COVERAGE and not kernels:  # whose loops would take ten times as long with atomic counters
        flags = [*flags, "-mllvm", "-instrprof-atomic-counter-update-all"]
    if OPTIMISED and kernels and name == "portable":
        flags = [*flags, "-Os"]  # for other compilers and as the oracle: Clang would make it three times as large
    elif OPTIMISED and (not kernels or name == "dispatch"):
        flags = [*flags, "-O2", "-fno-unroll-loops"]  # only vector kernels gain by more
    elif OPTIMISED:
        flags = [*flags, "-O3", "-fno-unroll-loops"]  # what gains by unrolling says so
        if X86:  # a tile whose loop crosses a cache line of code can be 8 % slower; fails on Windows' aarch64
            flags = [*flags, "-falign-loops=64"]
    if CLANG_CL:  # takes Clang's own flags so; the stack protector stands in the hottest loops
        flags = [*(f"/clang:{flag}" for flag in flags), *["/GS-"] * kernels]
    return flags


def newest(paths):
    """The latest change of these files; infinity where one is missing."""
    try:
        return max(os.stat(path).st_mtime_ns for path in paths)
    except (FileNotFoundError, ValueError):
        return float("inf")


def prerequisites(obj):
    """The files that an object was made of, as the compiler listed them; none: not known."""
    try:
        rule = Path(obj).with_suffix(".d").read_text().replace("\\\n", " ")
    except FileNotFoundError:
        return []
    return rule.split(":", 1)[1].split()


def write_if_changed(path, text):
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def description():
    """README.md as a package index shows it: without pictures and without links into the repository, which lead nowhere
    there; its last section has nothing else."""
    text, _, _ = Path("README.md").read_text("utf-8").partition("\n## More\n")
    text = re.sub(r"!\[[^]]*\]\([^)]*\)\n\n", "", text)
    return re.sub(r"\[([^]]+)\]\((?!https?:)[^)]*\)", r"\1", text)


def pkg_config():
    """bptt.pc, as CMakeLists.txt makes it for other places of the library."""
    text = Path("src", PC).with_suffix(".pc.in").read_text()
    names = {"PREFIX": "${pcfiledir}/../..", "LIBDIR": "lib", "INCLUDEDIR": "include", "VERSION": VERSION}
    return re.sub(r"@(\w+)@", lambda name: names[name[1]], text)


class BuildCore(build_ext):
    def build_extension(self, ext):
        if MSVC and not self.compiler.initialized:
            self.compiler.initialize()  # else every thread below would
        if CLANG_CL:
            self.compiler.cc = shutil.which(CC)
            if not self.compiler.cc:
                raise CompileError(f"CC is {CC}: no such program")
        commands = [getattr(self.compiler, name, []) for name in ("compiler_so", "linker_so")]
        units = [(source, unit_flags(source)) for source in CSRC]
        flags = repr((sysconfig.get_path("include"), commands, FLAGS, CORE_FLAGS, units))
        # for each set of flags a folder of its own, also where pip names another: that would be empty every time
        self.build_temp = f"build/objects/{hashlib.sha256(flags.encode()).hexdigest()[:8]}"
        last_flags = Path("build/objects/flags")
        write_if_changed(last_flags, flags)
        self.compiler.compile = self.compile_changed(self.compiler.compile)

        def compile_unit(source):
            return self.compiler.compile(
                [source],
                self.build_temp,
                include_dirs=INCLUDE_DIRS,
                extra_postargs=FLAGS + CORE_FLAGS + unit_flags(source),
            )[0]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_unit, CSRC))
        archive = Path(self.build_lib) / ARCHIVE
        if newest([archive]) < newest([*objects, last_flags]) or not archive.exists():
            archive.unlink(missing_ok=True)  # no member of an object that is no more
            self.compiler.create_static_lib(objects, "bptt", output_dir=str(archive.parent))
        write_if_changed(Path(self.build_lib, PXD), runpy.run_path("src/bptt/bindings/make_pxd.py")["pxd"]())
        write_if_changed(Path(self.build_lib, PC), pkg_config())
        if not MSVC:
            self.write_compile_commands(commands[0])
        ext.extra_objects = objects
        ext.depends += [*objects, str(last_flags)]
        module = Path(self.get_ext_fullpath(ext.name))
        if newest([module]) < newest([last_flags]):  # of other objects, which may be newer than these
            module.unlink(missing_ok=True)
        super().build_extension(ext)

    @staticmethod
    def compile_changed(compile_all):
        """The compiler's compile, but for sources whose object is newer than all it was made of."""

        def compile(sources, output_dir=None, extra_postargs=None, **options):
            objects = []
            for source in sources:
                obj = str(Path(output_dir, source).with_suffix(".obj" if MSVC else ".o"))
                made_of = prerequisites(obj)
                if not made_of or newest([obj]) < newest(made_of) or not os.path.exists(obj):
                    extra = [*(extra_postargs or []), *["-MMD"] * (not MSVC)]
                    (obj,) = compile_all([source], output_dir, extra_postargs=extra, **options)
                objects.append(obj)
            return objects

        return compile

    @staticmethod
    def write_compile_commands(compiler):
        """For clangd and others, which look for it in build/."""
        flags = [*CORE_FLAGS, *(f"-I{path}" for path in INCLUDE_DIRS)]
        commands = [
            {"directory": os.getcwd(), "file": source, "arguments": [*compiler, *flags, *unit_flags(source), source]}
            for source in CSRC
        ]
        write_if_changed(Path("build/compile_commands.json"), json.dumps(commands, indent=1))

    def copy_extensions_to_source(self):
        super().copy_extensions_to_source()
        for made in (ARCHIVE, PXD, PC):
            self.copy_file(str(Path(self.build_lib) / made), str(Path("src") / made))


class Wheel(bdist_wheel):
    def write_wheelfile(self, distinfo_dir, **options):
        super().write_wheelfile(distinfo_dir, **options)
        about, sources = self.distribution.metadata, [Path(path) for path in (*CSRC, *HEADERS, *BINDINGS, MODULE)]
        sbom = runpy.run_path("wheels/sbom.py")["sbom"]
        text = sbom(about.name, VERSION, about.description, about.license_expression, sources)
        write_if_changed(Path(distinfo_dir, "sboms/bptt.cdx.json"), text)


setup(
    version=VERSION,
    long_description=description(),
    long_description_content_type="text/markdown",
    ext_modules=[
        Extension(
            "bptt._core",
            [MODULE],
            include_dirs=[INCLUDE.as_posix()],
            define_macros=[("Py_LIMITED_API", "0x030B0000")] * ABI3,
            py_limited_api=ABI3,
            libraries=[] if MSVC else ["m"],
            extra_compile_args=[*FLAGS, *["-Os"] * (OPTIMISED and not MSVC)],  # glue: smaller, as fast
            extra_link_args=[
                *[f"-fsanitize={SANITIZE}"] * bool(SANITIZE),
                *["-fprofile-instr-generate"] * bool(COVERAGE),
                *["-pthread"] * (not MSVC),
            ],
            depends=CSRC + HEADERS + BINDINGS,
        )
    ],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": Wheel},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
)
