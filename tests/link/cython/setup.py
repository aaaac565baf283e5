"""Two ways for a Cython module to call bptt.h: python setup.py build_ext --inplace"""

from setuptools import Extension, setup

import bptt

setup(
    name="trains",
    ext_modules=[
        Extension("by_capsule", ["by_capsule.pyx"]),
        Extension(
            "by_archive",
            ["by_archive.pyx"],
            define_macros=[("BPTT_LINKED", None)],
            library_dirs=[bptt.get_lib_dir()],
            libraries=["bptt", "m"],
            extra_link_args=["-pthread"],
        ),
    ],
)
