"""Networks from other libraries and file formats, and back to them.

Each function is loaded when it is first asked for, so that torch and onnx are needed only by their own functions.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._from_keras_weights import from_keras_weights
    from ._from_nam import from_nam
    from ._from_onnx import from_onnx
    from ._from_rtneural import from_rtneural
    from ._from_torch import from_torch
    from ._to_c import to_c
    from ._to_keras_weights import to_keras_weights
    from ._to_nam import to_nam
    from ._to_onnx import to_onnx
    from ._to_rtneural import to_rtneural
    from ._to_torch import to_torch

__all__ = [
    "from_keras_weights",
    "from_nam",
    "from_onnx",
    "from_rtneural",
    "from_torch",
    "to_c",
    "to_keras_weights",
    "to_nam",
    "to_onnx",
    "to_rtneural",
    "to_torch",
]

_LIBRARIES = ("torch", "onnx")  # of the functions named after them; pip installs each as an extra of that name


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"._{name}", __name__)
    except ModuleNotFoundError as error:
        if error.name not in _LIBRARIES:
            raise
        text = f"{__name__}.{name} needs {error.name}, which `pip install {error.name}` brings"
        raise ModuleNotFoundError(text, name=error.name) from error
    return getattr(module, name)


def __dir__():
    """Without the functions whose library is missing: help() asks for everything that is listed here."""
    missing = [library for library in _LIBRARIES if find_spec(library) is None]
    listed = [name for name in __all__ if name.split("_")[1] not in missing]
    return sorted([*listed, *(name for name in globals() if name.startswith("__"))])
