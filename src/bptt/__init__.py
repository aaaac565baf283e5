"""Recurrent neural networks trained by backpropagation through time on the CPU.

>>> import bptt
>>> rnn = bptt.RNN(input_size=3, hidden_size=32, output_size=2)

Shapes are written with T steps, B batch rows, I inputs, H hidden units, O outputs, L layers and D directions (1 or 2).

An argument that does not fit is a ValueError or, where its type does not, a TypeError; both name the argument, what was
expected and what came. Sizes beyond what memory can address are a MemoryError. The import is a RuntimeError where the
environment variable BPTT_ISA names a kernel set that does not run here.

Names of cells, initialisations, losses and optimisers are taken in any case: "LSTM" is "lstm".
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import init
from ._constraints import Constraints
from ._core import Stream, binary_cross_entropy, clip_grad_norm, clip_grad_value, cross_entropy, huber, mse, version
from ._core import isa as _isa
from ._online import RTRL, SnAp1
from ._optim import SGD, Adagrad, Adam, RMSprop
from ._rnn import RNN
from ._truncation import ARTBP, TBPTT
from ._windows import Window

if TYPE_CHECKING:
    from . import convert, plot, schedule
    from ._diagnostics import GradientFlow, Spectrum, gradient_flow
    from ._fit import fit
    from ._history import History
    from ._linking import get_include, get_lib_dir
    from ._shards import Shards
    from ._training_file import load_training, save_training

# loaded when they are first asked for, so that this import is quick
_LATER = {
    "GradientFlow": "._diagnostics",
    "History": "._history",
    "Shards": "._shards",
    "Spectrum": "._diagnostics",
    "convert": ".convert",
    "fit": "._fit",
    "get_include": "._linking",
    "get_lib_dir": "._linking",
    "gradient_flow": "._diagnostics",
    "load_training": "._training_file",
    "plot": ".plot",
    "save_training": "._training_file",
    "schedule": ".schedule",
}

__version__ = version()
_isa()  # a BPTT_ISA that does not run here is an error now, not in the middle of a training run

__all__ = [
    "ARTBP",
    "RNN",
    "RTRL",
    "SGD",
    "TBPTT",
    "Adagrad",
    "Adam",
    "Constraints",
    "GradientFlow",
    "History",
    "RMSprop",
    "Shards",
    "SnAp1",
    "Spectrum",
    "Stream",
    "Window",
    "binary_cross_entropy",
    "clip_grad_norm",
    "clip_grad_value",
    "convert",
    "cross_entropy",
    "fit",
    "get_include",
    "get_lib_dir",
    "gradient_flow",
    "huber",
    "init",
    "load_training",
    "mse",
    "plot",
    "save_training",
    "schedule",
]


def __getattr__(name):
    if name not in _LATER:
        hint = f", use bptt.RNN(..., cell={name.lower()!r})" if name in ("LSTM", "GRU") else ""
        if name == "torch":
            hint = ", write `import bptt.torch`"
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
    module = import_module(_LATER[name], __name__)
    return module if name in ("convert", "plot", "schedule") else getattr(module, name)


def __dir__():
    """What is public: private modules that are loaded are attributes too."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
