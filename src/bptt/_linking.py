"""Where the headers and libbptt.a are, for native code that is linked with the core."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def get_include() -> str:
    """Name the directory of bptt.h and bptt_capsule.h.

    Returns
    -------
    str
    """
    return str(_HERE / "include")


def get_lib_dir() -> str:
    """Name the directory of libbptt.a; programs that link it also need -lm and -pthread.

    Returns
    -------
    str
    """
    return str(_HERE / "lib")
