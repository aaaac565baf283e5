"""Networks from other libraries and file formats, and back to them.

Each function is loaded when it is first asked for, so that torch and onnx are needed only by their own functions.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._from_keras_weights import from_keras_weights
    from ._from_onnx import from_onnx
    from ._from_torch import from_torch
    from ._to_keras_weights import to_keras_weights
    from ._to_onnx import to_onnx
    from ._to_torch import to_torch

__all__ = [
    "from_keras_weights",
    "from_onnx",
    "from_torch",
    "to_keras_weights",
    "to_onnx",
    "to_torch",
]


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"._{name}", __name__), name)


def __dir__():
    return sorted({*globals(), *__all__})
