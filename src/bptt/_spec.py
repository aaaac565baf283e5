"""What a network is: bptt.RNN's arguments, representation, pickles and model files are made from the fields of Spec."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from ._checks import choice, flag, index, integer, number, optional, real
from ._core import CELLS, check_spec

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

MOST_LAYERS = 10_000  # of the core
DTYPES = ("float32", "float64")


def _optional_index(value, name):
    return optional(index, value, name)


def _optional_place(value, name):
    """An int of any sign, or None; whether it lies in range depends on another field."""
    return optional(integer, value, name)


def _cell(value, name):
    return choice(value, name, CELLS)


def _layers(value, name):
    layers = index(value, name)
    if layers > MOST_LAYERS:
        raise ValueError(f"{name} must be at most {MOST_LAYERS}, got {value!r}")
    return layers


def _leak(value, name):
    leak = number(value, name)
    if not 0 < leak <= 1:
        raise ValueError(f"{name} must be in (0, 1], got {value!r}")
    return leak


def _dtype(value, name):
    try:
        dtype = np.dtype(str(value) if value is None else value)  # NumPy takes None as float64
    except (TypeError, ValueError, SyntaxError):  # NumPy parses strings such as "3,f4"
        dtype = None
    if dtype is None or dtype.name not in DTYPES or not dtype.isnative:
        raise TypeError(f"{name} must be {' or '.join(DTYPES)}, got {value!r}")
    return dtype.name


CHECKS = {int: index, bool: flag, float: real, int | None: _optional_index}  # by the type of a field
CHECKS_BY_NAME = {"cell": _cell, "num_layers": _layers, "padding_idx": _optional_place, "leak": _leak, "dtype": _dtype}
VANILLA = ("tanh", "relu", "sigmoid", "identity")
"""The cells without gates, which may have a leak."""


@dataclass(frozen=True)
class Spec:
    """What a network is, checked: the fields are those arguments of bptt.RNN that its parameters depend on.

    A new field is written here, in SpecKeywords, in bptt_spec of bptt.h and where the core checks that, and in the
    struct of _core.pyx. What is checked here is what the core's fields say otherwise: types, None, True, reset_after.
    Ranges are the core's.

    Parameters
    ----------
    input_size : int
        I, the columns of an input; with one_hot V, the number of symbols; with num_embeddings E, the columns of the
        table.
    hidden_size : int
        H, the hidden units of a layer.
    output_size : int, optional
        O, the columns of a linear readout. Without it the outputs are the hidden states.
    cell : {"tanh", "relu", "sigmoid", "identity", "lstm", "gru"}
        f of a vanilla cell, or a gated cell: LSTM (Hochreiter & Schmidhuber 1997; Gers et al. 2000), GRU
        (Cho et al. 2014). "LSTM" is "lstm": names are taken in any case.
    num_layers : int
        L, the layers. The inputs of each are the outputs of the one below.
    bidirectional : bool
        Whether each layer also runs from the last step to the first. The outputs of both directions lie side by side
        (Schuster & Paliwal 1997).
    bias : bool
        Whether there are b_ih, b_hh and b_o.
    reset_after : bool
        GRU: whether the reset gate acts after the product with W_hn, as in PyTorch, or before it, as in the paper.
    peepholes : bool
        LSTM: whether the gates see the cell state (Gers et al. 2002).
    dropout : float
        In [0, 1): share of the inputs of the layers above the first that training drops, anew at every step; the rest
        is scaled up (Srivastava et al. 2014). A forward with a tape is training. Rates act to the nearest 2^-16.
    recurrent_dropout : float
        In [0, 1): share of h_{t-1} that training drops before the product with W_hh, the same units at all steps of a
        sequence (Gal & Ghahramani 2016).
    learn_state : bool
        Whether the initial state, where none is given, is a parameter: state_h0 (and state_c0), the same for all rows.
        It begins as zeros where init is a name.
    one_hot : bool
        Whether the inputs are integers 0..V-1, V = input_size, each for the row of zeros with a one in its place. That
        row is never made: a forward picks columns of W_ih.
    num_embeddings : int, optional
        V: the inputs are integers 0..V-1, each for a row of a table that is trained, the parameter `embedding` (V,E)
        with E = input_size, as PyTorch's nn.Embedding in front of the network. It begins as N(0, 1).
    padding_idx : int, optional
        With num_embeddings: the row of `embedding` that gets no gradient and begins as zeros. Negative: counted from
        the end.
    leak : float
        a in (0, 1] of a vanilla cell: h_t = (1-a)*h_{t-1} + a*f(z_t), z_t the argument of f (Jaeger et al. 2007). a =
        dt/tau is a step of length dt of tau dh/dt = -h + f(z). 1 is the cell without a leak.
    learn_leak : bool
        Whether each unit has a leak of its own that is trained: a is the logistic function of the parameter leak_l{k},
        so it stays between 0 and 1. It begins at `leak`, which must be below 1 then.
    noise : float
        Standard deviation of the normal noise that training adds to z_t, the pre-activations of all units (of a gated
        cell those of all gates), anew at every step. A forward with a tape is training. The gradient takes it as a
        constant.
    batch_first : bool
        Whether sequences are (B,T,...) instead of (T,B,...), in all that goes in and comes out. States are (L*D,B,H)
        in both cases.
    dtype : {"float32", "float64"}
        The type of parameters, states and outputs.
    """

    input_size: int
    hidden_size: int
    output_size: int | None = None
    cell: str = "tanh"
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    reset_after: bool = True
    peepholes: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    learn_state: bool = False
    one_hot: bool = False
    num_embeddings: int | None = None
    padding_idx: int | None = None
    leak: float = 1.0
    learn_leak: bool = False
    noise: float = 0.0
    batch_first: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        for field in dataclasses.fields(self):
            check = CHECKS_BY_NAME.get(field.name) or CHECKS[field.type]
            object.__setattr__(self, field.name, check(getattr(self, field.name), field.name))
        if not self.reset_after and self.cell != "gru":
            raise ValueError(f"reset_after=False goes with cell='gru', got cell={self.cell!r}")
        if self.peepholes and self.cell != "lstm":
            raise ValueError(f"peepholes=True goes with cell='lstm', got cell={self.cell!r}")
        if self.cell not in VANILLA and (self.leak < 1 or self.learn_leak):
            given = f"leak={self.leak}" if self.leak < 1 else "learn_leak=True"
            raise ValueError(f"{given} goes with a cell without gates ({', '.join(VANILLA)}), got cell={self.cell!r}")
        if self.learn_leak and self.leak == 1:
            raise ValueError("learn_leak=True needs a leak below 1 to begin with, such as leak=0.5, got leak=1.0")
        if self.one_hot and self.num_embeddings is not None:
            raise ValueError(f"one_hot=True goes with num_embeddings=None, got num_embeddings={self.num_embeddings}")
        if self.padding_idx is not None:
            object.__setattr__(self, "padding_idx", _row(self.padding_idx, self.num_embeddings))
        check_spec(self)

    @property
    def vocabulary(self) -> int:
        """V where the inputs are integers 0..V-1; 0 where they are real numbers."""
        return self.input_size if self.one_hot else self.num_embeddings or 0

    def description(self) -> dict[str, Any]:
        """{field: value}, of types that JSON has."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def changed(self) -> dict[str, object]:
        """{field: value} of those that are not at their default."""
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    def unit_leaks(self, trained=None) -> np.ndarray:
        """(H,): the leak of each unit of a layer, of which `trained` is the parameter leak_l{k}, if it has one."""
        if trained is None:
            return np.full(self.hidden_size, self.leak)
        return 1 / (1 + np.exp(-trained.astype(np.float64)))

    def struct(self) -> dict[str, object]:
        """The members of the core's bptt_spec but its size; those that differ from the fields are named here."""
        return self.description() | {
            "output_size": self.output_size or 0,
            "cell": CELLS.index(self.cell),
            "reset_before": not self.reset_after,
            "num_embeddings": self.num_embeddings or 0,
            "padding_row": 0 if self.padding_idx is None else self.padding_idx + 1,
        }


class SpecKeywords(TypedDict, total=False):
    """The keywords of bptt.RNN that are fields of Spec, for type checkers, which cannot read them from there."""

    cell: str
    num_layers: int
    bidirectional: bool
    bias: bool
    reset_after: bool
    peepholes: bool
    dropout: float
    recurrent_dropout: float
    learn_state: bool
    one_hot: bool
    num_embeddings: int | None
    padding_idx: int | None
    leak: float
    learn_leak: bool
    noise: float
    batch_first: bool
    dtype: "DTypeLike"


def _row(padding_idx, num_embeddings):
    """The row of the table that padding_idx means, counted from the first."""
    if num_embeddings is None:
        raise ValueError(f"padding_idx goes with num_embeddings, got padding_idx={padding_idx}")
    if not -num_embeddings <= padding_idx < num_embeddings:
        raise ValueError(f"padding_idx must be in {-num_embeddings}..{num_embeddings - 1}, got {padding_idx}")
    return padding_idx % num_embeddings
