"""python -m bptt: what a compiler needs to know about this installation, and what runs."""

import argparse
import shlex

from . import __version__, get_include, get_lib_dir
from ._core import isa, isa_choices


def _info() -> str:
    rows = {
        "version": __version__,
        "kernels": f"{isa()} (of {', '.join(isa_choices())})",
        "headers": get_include(),
        "library": get_lib_dir(),
    }
    return "\n".join(f"{name}: {value}" for name, value in rows.items())


_ANSWERS = {
    "--cflags": ("flags to compile with bptt.h", lambda: f"-I{shlex.quote(get_include())}"),
    "--libs": ("flags to link libbptt.a", lambda: f"-L{shlex.quote(get_lib_dir())} -lbptt -lm -pthread"),
    "--pkgconfigdir": ("directory of bptt.pc, for PKG_CONFIG_PATH", lambda: f"{get_lib_dir()}/pkgconfig"),
    "--cmakedir": ("directory of bpttConfig.cmake, for bptt_DIR", lambda: f"{get_lib_dir()}/cmake/bptt"),
    "--info": ("version, kernel set in use, directories", _info),
}


def main() -> None:
    parser = argparse.ArgumentParser("python -m bptt", description="How to compile and link with bptt.")
    for flag, (meaning, _) in _ANSWERS.items():
        parser.add_argument(flag, action="append_const", dest="asked", const=flag, help=meaning)
    asked = parser.parse_args().asked
    if not asked:
        parser.error(f"expected one of {', '.join(_ANSWERS)}")
    for flag in asked:
        print(_ANSWERS[flag][1]())


if __name__ == "__main__":
    main()
