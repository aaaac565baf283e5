"""Recurrent neural networks trained by backpropagation through time on the CPU.

>>> import bptt
>>> rnn = bptt.RNN(input_size=3, hidden_size=32, output_size=2)
"""

from . import init, plot
from ._core import Stream, binary_cross_entropy, clip_grad_norm, clip_grad_value, cross_entropy, mse, version
from ._core import isa as _isa
from ._diagnostics import GradientFlow, Spectrum, gradient_flow
from ._fit import History, fit
from ._optim import SGD, Adagrad, Adam, RMSprop
from ._rnn import RNN
from ._windows import TBPTT, Window

__version__ = version()
_isa()  # a BPTT_ISA that does not run here is an error now, not in the middle of a training run

__all__ = [
    "RNN",
    "SGD",
    "TBPTT",
    "Adagrad",
    "Adam",
    "GradientFlow",
    "History",
    "RMSprop",
    "Spectrum",
    "Stream",
    "Window",
    "binary_cross_entropy",
    "clip_grad_norm",
    "clip_grad_value",
    "cross_entropy",
    "fit",
    "gradient_flow",
    "init",
    "mse",
    "plot",
]
