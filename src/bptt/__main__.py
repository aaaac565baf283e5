"""python -m bptt: what a compiler needs to know about this installation, what runs; model files in other formats."""

import argparse
import shlex

from . import __version__, get_include, get_lib_dir
from ._core import isa, isa_choices
from ._export import add_arguments, export


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


class _Parser(argparse.ArgumentParser):
    """Errors are one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def main() -> None:
    parser = _Parser(
        "python -m bptt", description="How to compile and link with bptt, and model files in other formats."
    )
    parser.add_argument("--version", action="version", version=__version__)
    for flag, (meaning, _) in _ANSWERS.items():
        parser.add_argument(flag, action="append_const", dest="asked", const=flag, help=meaning)
    exporter = parser.add_subparsers(dest="command").add_parser("export", help="a model file in another format")
    add_arguments(exporter)
    arguments = parser.parse_args()
    if not arguments.asked and not arguments.command:
        parser.error(f"expected one of {', '.join(_ANSWERS)}, or export")
    for flag in arguments.asked or ():
        print(_ANSWERS[flag][1]())
    if arguments.command:
        try:
            print(export(arguments))
        except (ValueError, TypeError, OSError, EOFError, ImportError, MemoryError) as error:
            exporter.error(str(error))


if __name__ == "__main__":
    main()
