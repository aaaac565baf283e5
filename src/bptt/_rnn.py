"""bptt.RNN: the network as users see it. What is hot lies in _core.Network."""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from . import _core
from ._checks import number
from ._init import Initializer, generator, initializer, zeros
from ._signature import check_keywords, document_fields, field_docs, field_names, takes_fields
from ._spec import Spec, SpecKeywords
from ._windows import Loss, Window, WindowOptions, Windows

if TYPE_CHECKING:

    class _Network(_core.Network, Spec):  # type: ignore[misc]
        """A network has the fields of its Spec."""

else:
    _Network = _core.Network


class RNN(_Network):
    """A recurrent network, its parameters and their gradients.

    h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh) (Elman 1990), and with output_size a readout o_t = W_ho h_t + b_o.

    Parameters
    ----------
    {fields}
    init : {"uniform", "identity", "orthogonal", "glorot"} or function (name, shape, rng) -> array
        "uniform": U(+-1/sqrt(H)), PyTorch's default. "identity": W_hh = I for relu (Le, Jaitly, Hinton 2015), not for
        gated cells; bptt.init.identity(scale) scales it. "orthogonal": W_hh of every gate orthogonal. "glorot": Keras'
        default.
    forget_bias : float
        LSTM: added to the forget gate's part of every b_ih after it was drawn (Jozefowicz et al. 2015). The gate sees
        b_ih + b_hh, which has it once, as Keras' one bias does.
    seed : int or numpy.random.Generator, optional
        For the initial values, the dropout masks and the noise.
    threads : int, optional
        Most threads that a call uses, by default one per processor. Results are the same to the bit for any number.

    Attributes
    ----------
    params, grads : numpy.ndarray, (P,)
        All P parameters and their gradients: flat contiguous arrays of dtype, written in place.
    spec : frozen dataclass
        The arguments above from input_size to dtype, checked; each is also an attribute of the network.
    lock : reentrant lock
        Held during every call. Take it (`with rnn.lock:`) around what must not mix with calls in other threads, such as
        an optimiser's step.

    Notes
    -----
    One object serialises its own calls; separate objects run in parallel. In the child of a fork the calls of other
    threads are over, unfinished: grads, and the states of streams, are as far as they had come.
    """

    @takes_fields(Spec)
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        init: str | Initializer = "uniform",
        forget_bias: float = 0.0,
        seed: int | np.random.Generator | None = None,
        threads: int | None = None,
        **spec: Unpack[SpecKeywords],
    ) -> None:
        check_keywords(spec, Spec, RNN)
        rng = generator(seed)
        super().__init__(Spec(input_size, hidden_size, output_size, **spec), threads)  # type: ignore[arg-type] # dtype
        draw, forget_bias = initializer(init, self.hidden_size), _forget_bias(forget_bias, self)
        if self.dropout and self.num_layers == 1 and init is not zeros:  # then somebody chose it here
            text = f"dropout={self.dropout} drops inputs of the layers above the first: num_layers=1 has none"
            warnings.warn(text, stacklevel=2)
        for name, view in self.param_views().items() if draw is not zeros else ():
            if name.startswith("leak"):
                view[...] = math.log(self.leak / (1 - self.leak))
                continue
            values = draw(name, view.shape, rng)
            view[...] = _core.real_copy(values, f"what init returns for {name}", self.dtype, view.shape)
            if name == "embedding" and self.padding_idx is not None:
                view[self.padding_idx] = 0
            if forget_bias and name.startswith("bias_ih"):  # of the two biases one, so that their sum has it once
                view[self.hidden_size : 2 * self.hidden_size] += forget_bias
        if self.dropout or self.recurrent_dropout or self.noise:
            self.dropout_state = int(rng.integers(2**64, dtype=np.uint64)), 0

    def __repr__(self) -> str:
        sizes = (self.input_size, self.hidden_size, self.output_size)
        changed = {name: value for name, value in self.spec.changed().items() if not name.endswith("_size")}
        arguments = [str(size) for size in sizes if size]
        arguments += [f"{name}={value!r}" for name, value in ({"cell": self.cell} | changed).items()]
        return f"RNN({', '.join(arguments)}): {self.params.size} parameters"

    def __reduce__(self):
        """Pickle and copy take the network, its parameters and what dropout drops next; gradients and the tape stay
        behind. An optimiser of bptt that is copied along works on the copy."""
        with self.lock:
            params, drawn = self.params.copy(), self.dropout_state
        return _rebuild, (type(self), self.description(), self.threads, params, drawn), self.__dict__ or None

    def __copy__(self):
        """As deepcopy: an optimiser among the attributes of a subclass must not go on with the original."""
        return copy.deepcopy(self)

    def description(self) -> dict[str, Any]:
        """Describe the network by the arguments that make one of its kind.

        Returns
        -------
        dict
            Of types that JSON has: ``bptt.RNN(**rnn.description())``.
        """
        return self.spec.description()

    def param_views(self) -> dict[str, np.ndarray]:
        """View the parameters by name.

        Returns
        -------
        dict of str to numpy.ndarray
            Views into params, with PyTorch's names, shapes and order.

        Notes
        -----
        For each layer k and direction (the reverse one has "_reverse" behind its names), with G blocks of gates (LSTM
        4: i,f,g,o; GRU 3: r,z,n; other cells 1):

        weight_ih_l{k} : (G*H,I), above the first layer (G*H,D*H)
        weight_hh_l{k} : (G*H,H)
        bias_ih_l{k}, bias_hh_l{k} : (G*H,)
        weight_peephole_l{k} : (3,H), those of i, f and o
        leak_l{k} : (H,), whose logistic function is the leak

        Then, for the network:

        weight_ho : (O,D*H)
        bias_o : (O,)
        state_h0, state_c0 : (L*D,H)
        embedding : (V,E)
        """
        return views_of(self.params, self.tensors())

    def grad_views(self) -> dict[str, np.ndarray]:
        """View the gradients by name.

        Returns
        -------
        dict of str to numpy.ndarray
            Views into grads, as those of param_views.
        """
        return views_of(self.grads, self.tensors())

    def clip_grad_norm(self, max_norm: float) -> float:
        """Scale all gradients to a Euclidean norm of at most max_norm.

        Parameters
        ----------
        max_norm : float
            Above 0; inf only measures.

        Returns
        -------
        float
            The norm before. If that is NaN or Inf, nothing is scaled.
        """
        with self.lock:
            return _core.clip_grad_norm(self.grads, max_norm)

    def clip_grad_value(self, limit: float) -> float:
        """Clamp every gradient to [-limit, limit].

        Parameters
        ----------
        limit : float
            Above 0.

        Returns
        -------
        float
            The largest absolute value before, NaN if there was any NaN.
        """
        with self.lock:
            return _core.clip_grad_value(self.grads, limit)

    def stream(self, batch: int | None = None, *, state=None) -> _core.Stream:
        """Make a stream: the network one step at a time, weights packed once.

        Parameters
        ----------
        batch : int, optional
            B; by default that of the state, or 1.
        state : array_like, (L,B,H), for an LSTM the pair (h, c), optional
            The initial state; zeros, or the learned state, by default.

        Returns
        -------
        bptt.Stream

        Raises
        ------
        ValueError
            If the network is bidirectional.
        """
        return _core.Stream(self, batch, state)

    @takes_fields(WindowOptions)
    def windows(self, x, target, loss: str | Loss = "mse", **options: Any) -> Iterator[Window]:
        """Go over a sequence window by window; after each, `grads` holds that window's gradient alone.

        Parameters
        ----------
        x : array_like, (T,B,I), with batch_first (B,T,I), or (T,I), or iterable of chunks
            The inputs. An array (an np.memmap is read window by window), or an iterable of chunks along time, each of
            any number of steps. What can be indexed, a list too, is an array. With one_hot or num_embeddings integers,
            without the axis I, see forward.
        target : array_like or iterable of chunks
            What the loss takes, with the same time and batch axes as x. The boundaries of its chunks need not be those
            of x.
        {fields}

        Yields
        ------
        bptt.Window

        Raises
        ------
        ValueError, TypeError
            If an argument does not fit, for a chunk when it is read, for an integer out of range before the window
            that it is in: the error names its place in the whole x. After the last whole window, if target, reset or
            mask end before x or go on after it.

        Notes
        -----
        The state flows forward uncut. Parameters may be changed between windows: the stored states of the overlap
        are used as they are, not computed again. Memory is that of 2*k2 steps (with ARTBP of the longest window) and
        of one chunk, whatever T is.
        """
        check_keywords(options, WindowOptions, RNN.windows)
        return Windows(self, x, target, WindowOptions(loss, **options)).run()

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copy the parameters by name.

        Returns
        -------
        dict of str to numpy.ndarray
            Copies, named as those of param_views.
        """
        with self.lock:
            return {name: view.copy() for name, view in self.param_views().items()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take all parameters from arrays by name.

        Parameters
        ----------
        state : mapping of str to array_like
            Real numbers, of any dtype, for exactly the names of param_views. They may be views of params.

        Raises
        ------
        ValueError, TypeError
            Unless every name, shape and dtype fits, and every finite value is finite in the network's dtype; nothing is
            changed then. NaN and Inf are taken as they are.
        """
        views = self.param_views()
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a mapping of names to arrays, got {type(state).__name__}")
        missing, foreign = [n for n in views if n not in state], [n for n in state if n not in views]
        if missing or foreign:
            raise ValueError(f"state must have exactly the names {list(views)}: missing {missing}, unknown {foreign}")
        params = np.empty_like(self.params)  # written at once when all arrays are read: some may be views of the old
        for name, view in views_of(params, self.tensors()).items():
            view[...] = _core.real_copy(state[name], f"state[{name!r}]", self.dtype, view.shape)
        self.params = params

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file that RNN.load reads. An interrupted save leaves an existing file whole.

        Parameters
        ----------
        path : str or path-like
            The file, replaced if it exists. A device or a pipe is written to.

        Raises
        ------
        OSError
            If the file cannot be written.

        Notes
        -----
        The bytes go into a temporary file in the same folder, which then takes the name. What a killed save left there
        is removed by the next save of the same file (not on Windows).
        """
        from ._files import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, threads: int | None = None) -> RNN:
        """Read the network that save wrote, with its dtype and batch_first.

        Parameters
        ----------
        path : str or path-like
            The file.
        threads : int, optional
            As in RNN.

        Returns
        -------
        bptt.RNN

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is not a whole model file whose tensors are those of its description. Nothing is allocated then.
        """
        from ._files import load

        return load(cls, path, threads)


document_fields(RNN, Spec)
_docs = field_docs(Spec)
for _name in field_names(Spec) - {"dtype"}:  # which is NumPy's, of _core.Network
    _field = property(attrgetter(f"spec.{_name}"), doc=_docs.get(_name))
    _field.__set_name__(RNN, _name)  # type: ignore[attr-defined] # so that the error of an assignment names it
    setattr(RNN, _name, _field)


def _forget_bias(value, rnn):
    most = float(np.finfo(rnn.dtype).max)
    value = number(value, "forget_bias", -most, most)
    if value and (rnn.cell != "lstm" or not rnn.bias):
        raise ValueError(
            f"forget_bias goes with cell='lstm' and bias=True, got {value!r} with cell={rnn.cell!r} and bias={rnn.bias}"
        )
    return value


def _rebuild(cls, description, threads, params, dropout_state):
    rnn = cls(**description, init=zeros, threads=threads)
    rnn.params, rnn.dropout_state = params, dropout_state
    return rnn


def check_network(rnn) -> None:
    """A TypeError unless an argument `rnn` is one."""
    if not isinstance(rnn, RNN):
        raise TypeError(f"rnn must be a bptt.RNN, got {type(rnn).__name__}")


def views_of(flat, tensors):
    """{name: view} of the tensors in a flat array (P,)."""
    return {name: flat[offset : offset + math.prod(shape)].reshape(shape) for name, offset, shape in tensors}
