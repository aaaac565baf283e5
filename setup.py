"""Builds the C core (one object per file of csrc/, some for one instruction set), libbptt.a of these objects, the
extension module that links the same objects, and the .pxd that other modules cimport.

BPTT_SANITIZE=address,undefined builds everything with those sanitizers.
"""

import os
import runpy
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CSRC = sorted(str(path) for path in Path("csrc").glob("*.c"))
HEADERS = sorted(map(str, [*Path("csrc").glob("*.h"), *Path("src/bptt/include").glob("*.h")]))
BINDINGS = sorted(map(str, Path("src/bptt/bindings").glob("*.pxi")))
SANITIZE = os.environ.get("BPTT_SANITIZE", "")
MSVC = os.name == "nt"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
ABI3 = not FREE_THREADED
ARCHIVE = Path("bptt/lib") / ("bptt.lib" if MSVC else "libbptt.a")
PXD = Path("bptt/__init__.pxd")

if MSVC:  # /std:c11 brings the standard's preprocessor; without /GL- no other version of the linker takes the archive
    FLAGS = ["/O2"]
    CORE_FLAGS = ["/std:c11", "/experimental:c11atomics", "/GL-", "/D_CRT_SECURE_NO_WARNINGS"]
elif SANITIZE:
    FLAGS = ["-O1", "-g", f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    CORE_FLAGS = ["-std=gnu11"]
else:
    FLAGS, CORE_FLAGS = ["-O3", "-g0"], ["-std=gnu11"]
if not MSVC:
    FLAGS += ["-fvisibility=hidden"]
    CORE_FLAGS += ["-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra"]

PLATFORM = sysconfig.get_platform()  # of the target where that is another machine
X86 = PLATFORM.endswith(("x86_64", "amd64", "i686", "universal2")) and not MSVC
SET_FLAGS = {  # by the end of a file's name
    "_avx2": ["-mavx2", "-mfma"],
    "_avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mprefer-vector-width=512"],
}


def unit_flags(source):
    """What one file of the core needs beyond the flags of all: its instruction set; contraction to fused
    multiply-add only in kernels."""
    stem = Path(source).stem
    flags = SET_FLAGS.get(stem.removeprefix("kernels"), []) if X86 else []
    if sys.platform == "darwin":  # one compilation may be for both processors
        flags = [word for flag in flags for word in ("-Xarch_x86_64", flag)]
    if not MSVC:
        flags = [*flags, "-ffp-contract=fast" if stem.startswith("kernels") else "-ffp-contract=off"]
    vector_kernels = stem.startswith("kernels_") and stem != "kernels_portable"
    if not (MSVC or SANITIZE or vector_kernels):
        flags = [*flags, "-O2"]  # only vector kernels gain by more
    return flags


class BuildCore(build_ext):
    def build_extension(self, ext):
        self.force = True  # flags and sanitizers are no files: no date tells whether they changed
        if MSVC and not self.compiler.initialized:
            self.compiler.initialize()  # else every thread below would

        def compile_unit(source):
            flags = FLAGS + CORE_FLAGS + unit_flags(source)
            return self.compiler.compile(
                [source], self.build_temp, include_dirs=["src/bptt/include"], extra_postargs=flags, depends=HEADERS
            )[0]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_unit, CSRC))
        self.compiler.create_static_lib(objects, "bptt", output_dir=str(Path(self.build_lib) / ARCHIVE.parent))
        Path(self.build_lib, PXD).write_text(runpy.run_path("src/bptt/bindings/make_pxd.py")["pxd"]())
        ext.extra_objects = objects
        super().build_extension(ext)

    def copy_extensions_to_source(self):
        super().copy_extensions_to_source()
        for made in (ARCHIVE, PXD):
            self.copy_file(str(Path(self.build_lib) / made), str(Path("src") / made))


setup(
    ext_modules=[
        Extension(
            "bptt._core",
            ["src/bptt/_core.pyx"],
            include_dirs=["src/bptt/include"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")] * ABI3,
            py_limited_api=ABI3,
            libraries=[] if MSVC else ["m"],
            extra_compile_args=[*FLAGS, "-Os"] if not (MSVC or SANITIZE) else FLAGS,  # glue: smaller, as fast
            extra_link_args=[f"-fsanitize={SANITIZE}"] if SANITIZE else [] if MSVC else ["-pthread"],
            depends=CSRC + HEADERS + BINDINGS,
        )
    ],
    cmdclass={"build_ext": BuildCore},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
)
