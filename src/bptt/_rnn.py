"""bptt.RNN: the network as users see it. What is hot lies in _core.Network."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping

import numpy as np

from . import _core
from ._init import Initializer, generator, initializer, zeros
from ._truncation import Truncation
from ._windows import Loss, Window, iterate


class RNN(_core.Network):
    """A recurrent network, its parameters and their gradients.

    h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh) (Elman 1990), and with output_size a readout o_t = W_ho h_t + b_o.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    output_size : int, optional
        O of a linear readout; without it the outputs are the hidden states.
    cell : "tanh", "relu", "sigmoid", "identity", "lstm" or "gru"
        f, or a gated cell: LSTM (Hochreiter & Schmidhuber 1997; Gers et al. 2000), GRU (Cho et al. 2014).
    num_layers : int
        L: the inputs of a layer are the outputs of the one below.
    bidirectional : bool
        Each layer also runs from the last step to the first; outputs lie side by side (Schuster & Paliwal 1997).
    bias : bool
        Whether there are b_ih, b_hh and b_o.
    reset_after : bool
        GRU: whether the reset gate acts after the product with W_hn, as in PyTorch, or before it, as in the paper.
    peepholes : bool
        LSTM: the gates see the cell state (Gers et al. 2002).
    dropout : float in [0, 1)
        Share of the inputs of the layers above the first that training drops, anew at every step; the rest is scaled
        up (Srivastava et al. 2014). A forward with a tape is training. Rates act to the nearest 2^-16.
    recurrent_dropout : float in [0, 1)
        Share of h_{t-1} that training drops before the product with W_hh, the same units at all steps of a sequence
        (Gal & Ghahramani 2016).
    learn_state : bool
        The state that enters where none is given is a parameter, state_h0 (and state_c0), the same for all rows. It
        begins as zeros where init is a name.
    init : "uniform", "identity", "orthogonal", "glorot", or a function (name, shape, rng) -> array
        "uniform": U(+-1/sqrt(H)), PyTorch's default. "identity": W_hh = I for relu (Le, Jaitly, Hinton 2015), not for
        gated cells; bptt.init.identity(scale) scales it. "orthogonal": W_hh of every gate orthogonal. "glorot": Keras'
        default.
    forget_bias : float
        LSTM: added to the forget gate's part of every b_ih after it was drawn (Jozefowicz et al. 2015). The gate sees
        b_ih + b_hh, which has it once, as Keras' one bias does.
    batch_first : bool
        Sequences are (B,T,...) instead of (T,B,...), in all that goes in and comes out. States are (L*D,B,H) always.
    dtype : "float32" or "float64"
    seed : int or numpy Generator, optional
        For the initial values and for what dropout drops.
    threads : int, optional
        Most threads a call uses, by default one per processor. Results are the same to the bit for any number.

    Attributes
    ----------
    params, grads : flat contiguous arrays (P,) of all P parameters and their gradients, of dtype, written in place

    lock : held during every call; take it (`with rnn.lock:`) around what must not mix with calls in other threads, such
        as an optimiser's step

    One object serialises its own calls; separate objects run in parallel.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        cell: str = "tanh",
        num_layers: int = 1,
        bidirectional: bool = False,
        bias: bool = True,
        reset_after: bool = True,
        peepholes: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        learn_state: bool = False,
        init: str | Initializer = "uniform",
        forget_bias: float = 0.0,
        batch_first: bool = False,
        dtype: str = "float32",
        seed: int | np.random.Generator | None = None,
        threads: int | None = None,
    ) -> None:
        rng = generator(seed)
        super().__init__(
            input_size=input_size,
            hidden_size=hidden_size,
            output_size=output_size,
            cell=cell,
            num_layers=num_layers,
            bidirectional=bidirectional,
            bias=bias,
            reset_after=reset_after,
            peepholes=peepholes,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            learn_state=learn_state,
            batch_first=batch_first,
            dtype=dtype,
            threads=threads,
        )
        draw, forget_bias = initializer(init, self.hidden_size), _forget_bias(forget_bias, self)
        if self.dropout and self.num_layers == 1 and init is not zeros:  # then somebody chose it here
            text = f"dropout={self.dropout} drops inputs of the layers above the first: num_layers=1 has none"
            warnings.warn(text, stacklevel=2)
        for name, view in self.param_views().items() if draw is not zeros else ():
            view[...] = _drawn(draw, name, view.shape, rng)
            if forget_bias and name.startswith("bias_ih"):  # of the two biases one, so that their sum has it once
                view[self.hidden_size : 2 * self.hidden_size] += forget_bias
        if self.dropout or self.recurrent_dropout:
            self.dropout_state = int(rng.integers(2**64, dtype=np.uint64)), 0

    def __repr__(self) -> str:
        readout = f", {self.output_size}" if self.output_size else ""
        usual = {"num_layers": 1, "bidirectional": False, "reset_after": True, "peepholes": False, "dropout": 0.0}
        usual |= {"recurrent_dropout": 0.0, "learn_state": False}
        other = "".join(f"{n}={v!r}, " for n in usual if (v := getattr(self, n)) != usual[n])
        return (
            f"RNN({self.input_size}, {self.hidden_size}{readout}, cell={self.cell!r}, {other}bias={self.bias}, "
            f"dtype={self.dtype.name!r}): {self.params.size} parameters"
        )

    def __reduce__(self):
        """Pickle and copy take the network, its parameters and what dropout drops next; gradients and the tape stay
        behind."""
        with self.lock:
            params, drawn = self.params.copy(), self.dropout_state
        return _rebuild, (type(self), self.description(), self.threads, params, drawn), self.__dict__ or None

    def description(self) -> dict[str, object]:
        """The arguments that make a network of this kind again."""
        names = (
            *("input_size", "hidden_size", "output_size", "cell", "num_layers", "bidirectional", "bias", "reset_after"),
            *("peepholes", "dropout", "recurrent_dropout", "learn_state", "batch_first"),
        )
        return {name: getattr(self, name) for name in names} | {"dtype": self.dtype.name}

    def param_views(self) -> dict[str, np.ndarray]:
        """{name: view into params}, PyTorch's names, shapes and order.

        For each layer k and direction (the reverse one has "_reverse" behind its names), with G blocks of gates (LSTM
        4: i,f,g,o; GRU 3: r,z,n; other cells 1):

        weight_ih_l{k} : (G*H,I), above the first layer (G*H,D*H)
        weight_hh_l{k} : (G*H,H)
        bias_ih_l{k}, bias_hh_l{k} : (G*H,)
        weight_peephole_l{k} : (3,H), those of i, f and o

        Then, for the network:

        weight_ho : (O,D*H)
        bias_o : (O,)
        state_h0, state_c0 : (L*D,H)
        """
        return _views(self.params, self.tensors())

    def grad_views(self) -> dict[str, np.ndarray]:
        """{name: view into grads}."""
        return _views(self.grads, self.tensors())

    def windows(
        self,
        x,
        target,
        loss: str | Loss = "mse",
        *,
        truncation: Truncation | None = None,
        burn_in: int = 0,
        state=None,
        lengths=None,
        reset=None,
        mask=None,
        reduction: str = "mean",
        step_clip_norm: float | None = None,
        step_clip_value: float | None = None,
        checkpoint: int | str | None = None,
        memory_budget: int | None = None,
    ) -> Iterator[Window]:
        """Go over a sequence window by window; after each, `grads` holds that window's gradient alone.

        x : (T,B,I), with batch_first (B,T,I), or (T,I): an array (an np.memmap is read window by window), or an
            iterable of chunks along time, each of any number of steps. What can be indexed, a list too, is an array
        target : what the loss takes, with the same time and batch axes as x; an array or an iterable of chunks, whose
            boundaries need not be those of x
        loss : "mse", "cross_entropy", "binary_cross_entropy", or a function (y, target) -> (loss, dy)
            (called with mask=... and reduction="sum" too where they are given, and with mask=... for lengths)
        truncation : TBPTT(k1, k2) or ARTBP(mean_length); None is full BPTT, one window, and needs x as an array
        burn_in : the first steps that only move the state on: without a loss, without a gradient and without memory for
            them. The windows begin after them, and no gradient flows back into them
        state : as forward takes it, the state that enters step 0; Window.state of an earlier call to go on from there
        lengths : (B,) of int, see forward: what lies beyond a row's length counts nothing in the loss either. Goes with
            truncation=None
        reset, mask : (T,B) of bool (with batch_first (B,T)), arrays or iterables of chunks: see forward and the losses
        reduction : "mean" over the elements that count in the window's own steps, or "sum"
        step_clip_norm, step_clip_value : see backward
        checkpoint, memory_budget : see forward, for each window; for windows that do not overlap. (A shorter last
            window of TBPTT(k) does: the end of the one before is then computed again from its checkpoints)

        The state flows forward uncut. Parameters may be changed between windows: the stored states of the overlap
        are used as they are, not computed again. Memory is that of 2*k2 steps (with ARTBP of the longest window) and
        of one chunk, whatever T is.

        Raises ValueError or TypeError where an argument does not fit, for a chunk when it is read; ValueError too,
        after the last whole window, if target, reset or mask end before x or go on after it.
        """
        return iterate(
            self,
            x,
            target,
            loss,
            truncation=truncation,
            burn_in=burn_in,
            state=state,
            lengths=lengths,
            reset=reset,
            mask=mask,
            reduction=reduction,
            step_clip_norm=step_clip_norm,
            step_clip_value=step_clip_value,
            checkpoint=checkpoint,
            memory_budget=memory_budget,
        )

    def state_dict(self) -> dict[str, np.ndarray]:
        """{name: copy of the parameter}."""
        with self.lock:
            return {name: view.copy() for name, view in self.param_views().items()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take all parameters from {name: array} of real numbers, of any dtype.

        Raises ValueError or TypeError unless every name, shape and dtype fits; nothing is changed then.
        """
        views = self.param_views()
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a mapping of names to arrays, got {type(state).__name__}")
        missing, foreign = [n for n in views if n not in state], [n for n in state if n not in views]
        if missing or foreign:
            raise ValueError(f"state must have exactly the names {list(views)}: missing {missing}, unknown {foreign}")
        arrays = {}
        for name, view in views.items():
            arrays[name] = np.asarray(state[name])
            if arrays[name].dtype.kind not in "fiu":
                raise TypeError(f"state[{name!r}] must be an array of real numbers, got {arrays[name].dtype}")
            if arrays[name].shape != view.shape:
                raise ValueError(f"state[{name!r}] must have shape {view.shape}, got {arrays[name].shape}")
        with self.lock:
            for name, view in views.items():
                view[...] = arrays[name]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file that RNN.load reads. An interrupted save leaves an existing file whole.

        Raises OSError where the file cannot be written.
        """
        from ._files import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, threads: int | None = None) -> RNN:
        """The network that save wrote, with its dtype and batch_first; threads as in RNN.

        Raises OSError where the file cannot be read, ValueError if it is not a whole one of those.
        """
        from ._files import load

        return load(cls, path, threads)


def _drawn(draw, name, shape, rng):
    values = np.asarray(draw(name, shape, rng))
    if values.dtype.kind not in "fiu":
        raise TypeError(f"init must return real numbers for {name}, got {values.dtype}")
    if values.shape != shape:
        raise ValueError(f"init must return shape {shape} for {name}, got {values.shape}")
    return values


def _forget_bias(value, rnn):
    value = _core.number(value, "forget_bias")
    if value and (rnn.cell != "lstm" or not rnn.bias):
        raise ValueError(
            f"forget_bias goes with cell='lstm' and bias=True, got {value!r} with cell={rnn.cell!r} and bias={rnn.bias}"
        )
    return value


def _rebuild(cls, description, threads, params, dropout_state):
    rnn = cls(**description, init=zeros, threads=threads)
    rnn.params, rnn.dropout_state = params, dropout_state
    return rnn


def _views(flat, tensors):
    return {name: flat[offset : offset + int(np.prod(shape))].reshape(shape) for name, offset, shape in tensors}
