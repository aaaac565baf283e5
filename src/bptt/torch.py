"""RNN, LSTM and GRU with the interface of torch.nn's, computed by bptt: change one import and the script stays.

>>> from bptt.torch import LSTM
>>> lstm = LSTM(input_size=8, hidden_size=32, num_layers=2, batch_first=True)

The classes are subclasses of torch.nn's: arguments, attributes, initial values, parameters and their names are theirs,
so that a state_dict goes both ways. Forward and backward run in bptt, without a copy where inputs are contiguous and
time-major, on the CPU in float32 or float64, with as many threads as torch.get_num_threads() says. The masks of dropout
are drawn from torch's generator, but they are others than torch.nn's.

Beyond torch.nn's arguments they take one_hot, num_embeddings and padding_idx as bptt.RNN does: the input is integers
then, (T,B) or (T,), and with num_embeddings the table is a parameter of the module, `embedding`.

Beyond torch.nn's forward theirs takes lengths, reset and return_states: sequences of several lengths without packing,
sequences that begin within a row, as episodes do in reinforcement learning, and the states after all steps.

Some calls are computed by torch.nn, with its results and errors: within traces, torch.compile, torch.export and the
transforms of torch.func, in forward-mode differentiation, for empty batches and dropout=1; with lengths, reset or
return_states by functions of torch in a loop over the steps. With create_graph=True the gradients are computed by
torch, so that they can be differentiated again; through dropout that is an error. Neither proj_size nor
torch.jit.script is supported.

`loss` goes the other way: it makes a loss of bptt.RNN.windows and bptt.fit of one that is written in torch.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np

try:
    import torch
except ModuleNotFoundError as _error:
    if _error.name != "torch":
        raise
    raise ModuleNotFoundError("bptt.torch needs torch, which `pip install torch` brings", name="torch") from None

import torch.nn.utils.parametrize
from torch.autograd import forward_ad
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from . import _core
from ._checks import flag
from ._spec import Spec
from ._torch_functions import by_torch, one_hot, rows_of
from ._torch_loss import loss

__all__ = ["GRU", "LSTM", "RNN", "loss"]

DTYPES = {torch.float32: "float32", torch.float64: "float64"}


# ---- one call in torch's graph -----------------------------------------------------------------------------


class _Call(NamedTuple):
    """What a call is beside its tensors. lengths (B,) and reset (T,B) are ndarrays in the user's layout, or None."""

    run: Any  # _core.Run
    lengths: Any
    reset: Any
    return_states: bool


class _Sequence(torch.autograd.Function):
    """One call of bptt as a node of torch's graph: from input, initial state and parameters to output, state and, where
    they are asked for, the states after all steps.

    flat holds the parameters' values for bptt; gradients go to the parameters.
    """

    @staticmethod
    def forward(ctx, call, flat, input, *tensors):
        keep = True in ctx.needs_input_grad
        run = call.run
        state = _arrays(tensors[: run.network.states])
        output, state, tape = run.forward(_array(input), flat.numpy(), state, keep, call.return_states)
        if keep:
            ctx.call = call
            ctx.set_materialize_grads(False)
            # freed with the graph; state and params so that torch says when one was changed before backward
            ctx.save_for_backward(input, torch.from_numpy(tape), flat, *tensors)
        return torch.from_numpy(output), *map(torch.from_numpy, state)

    @staticmethod
    def backward(ctx, *grads):
        if torch.is_grad_enabled() or _in_functional_transform() or any(map(_is_batched, grads)):
            return _grads_by_torch(ctx, grads)
        run = ctx.call.run
        states = run.network.states
        input, tape, flat, *tensors = ctx.saved_tensors
        _, _, input_wanted, *wanted = ctx.needs_input_grad
        state_wanted, params_wanted = wanted[:states], wanted[states:]
        doutput, *dstate = _arrays(grads)
        dinput, dstate0, dparams = run.backward(
            _array(input), flat.numpy(), tape.numpy(), doutput, dstate,
            input_wanted, True in state_wanted, True in params_wanted,
        )  # fmt: skip
        return (
            None,
            None,
            torch.from_numpy(dinput) if input_wanted else None,
            *(torch.from_numpy(part) if want else None for part, want in zip(dstate0, state_wanted, strict=True)),
            *_split(dparams, tensors[states:], params_wanted),
        )


def _is_batched(grad):
    """Whether this is a gradient that stands for several (is_grads_batched=True)."""
    return grad is not None and torch._C._functorch.is_legacy_batchedtensor(grad)


def _grads_by_torch(ctx, grads):
    """Gradients computed by torch's functions. With create_graph=True they depend on all that they are made from."""
    call = ctx.call
    if call.run.training:
        raise RuntimeError(
            "bptt.torch has neither create_graph=True nor is_grads_batched=True through dropout, "
            "because torch.nn has other masks: call eval() before the forward, or use torch.nn"
        )
    input, _, _, *tensors = ctx.saved_tensors
    create_graph, states = torch.is_grad_enabled(), call.run.network.states
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        # views: one tensor may be several arguments, and each argument has a gradient of its own
        arguments = [None if tensor is None else tensor.view_as(tensor) for tensor in (input, *tensors)]
        output, state, every = _call_by_torch(call, arguments[0], arguments[1 : 1 + states], arguments[1 + states :])
    pairs = [(part, grad) for part, grad in zip((output, *state, *every), grads, strict=True) if grad is not None]
    outputs, grads = zip(*pairs, strict=True)
    wanted = ctx.needs_input_grad[2:]
    sources = [argument for argument, want in zip(arguments, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(outputs, sources, grads, create_graph=create_graph, allow_unused=True))
    return None, None, *(next(found) if want else None for want in wanted)


def _call_by_torch(call, input, state, params):
    """(output, [state], [states]) of a call by functions of torch."""
    spec = call.run.network.spec
    if spec.num_embeddings is not None:
        *params, table = params
        input = rows_of(input, table, spec.padding_idx)
    elif spec.one_hot:
        input = one_hot(input, spec.input_size, params[0].dtype)
    lengths, reset = (None if a is None else torch.from_numpy(a) for a in (call.lengths, call.reset))
    falling = lengths is not None and not (lengths.diff() > 0).any()
    return by_torch(spec.cell, spec, input, state, params, lengths, reset, call.return_states, falling=falling)


def _split(flat, params, wanted):
    """The tensors that lie in a flat gradient, None where one is not wanted."""
    parts, end = [], 0
    for param, want in zip(params, wanted, strict=True):
        start, end = end, end + param.numel()
        parts.append(torch.from_numpy(flat[start:end].reshape(param.shape)) if want else None)
    return parts


def _array(tensor):
    return tensor.numpy(force=True)  # without a copy where the values lie in memory as they are


def _arrays(tensors):
    return [None if tensor is None else _array(tensor) for tensor in tensors]


# ---- what a module's parameters are, and where they lie ----------------------------------------------------


class _Layout:
    """What bptt needs to know of a module with certain attributes: its network, and the shapes of its parameters."""

    def __init__(self, module, key):
        (cell, input_size, hidden_size, num_layers, bias, bidirectional, batch_first, dropout, proj_size, one_hot,
         num_embeddings, padding_idx, dtype) = key  # fmt: skip
        if proj_size:
            raise ValueError(f"proj_size must be 0, bptt has no projections, got {proj_size}")
        spec = Spec(
            input_size,
            hidden_size,
            cell=cell,
            num_layers=num_layers,
            bidirectional=bidirectional,
            bias=bias,
            dropout=0.0 if dropout == 1 else dropout,  # such a module is torch.nn's
            batch_first=batch_first,
            one_hot=one_hot,
            num_embeddings=num_embeddings,
            padding_idx=padding_idx,
            dtype=DTYPES[dtype],
        )
        self.key, self.dtype, self.names = key, dtype, module._param_names()
        self.network = _core.Network(spec, None)
        tensors = self.network.tensors()
        if [name for name, _, _ in tensors] != self.names:
            raise ValueError(
                f"num_layers={num_layers}, bidirectional={bidirectional} and bias={bias} must be as when the module "
                f"was made: its parameters are {', '.join(self.names)}"
            )
        self.shapes = [torch.Size(shape) for _, _, shape in tensors]
        self.offsets = [offset for _, offset, _ in tensors]
        self.flat = self.places = None  # the buffer that the parameters were moved into, and their places there
        self.has_buffer = False  # whether it is one of such parameters

    def __reduce__(self):
        return type(None), ()  # a copy of the module makes its own

    def take_buffer(self, other):
        """Keep the buffer of the module's last layout, even if it is one of other parameters: they may come back."""
        self.flat, self.places = other.flat, other.places
        if self.places is not None:
            self.has_buffer = self.places[2:] == (self.shapes, [self.dtype] * len(self.shapes))

    def move(self, params):
        """Move checked parameters into the network's memory, each with a storage of its own."""
        buffer = self.network.params
        for param, offset in zip(params, self.offsets, strict=True):
            view = torch.from_numpy(buffer[offset : offset + param.numel()].reshape(param.shape))
            param.data = view.copy_(param.detach())
        self.flat, self.places, self.has_buffer = torch.from_numpy(buffer), _places(params), True

    def values(self, params):
        """All parameters in one flat tensor: the buffer if each lies in its place there, else a copy."""
        if self.has_buffer and _places(params) == self.places:
            return self.flat
        self.check(params)
        return torch.cat([param.detach().reshape(-1) for param in params])

    def check(self, params):
        """Raise unless these can be the parameters."""
        for name, param, shape in zip(self.names, params, self.shapes, strict=True):
            if param.device.type != "cpu":
                raise ValueError(f"parameters must be on the CPU, got {name} on device {param.device}")
            if param.dtype is not self.dtype:
                raise TypeError(f"parameters must have one dtype, {self.dtype}, got {param.dtype} for {name}")
            if param.shape != shape:
                raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(param.shape)}")


def _places(params):
    """Where and how tensors lie in memory, as four lists, which costs less than a list of tuples."""
    return (
        [param.data_ptr() for param in params],
        [param.stride() for param in params],
        [param.shape for param in params],
        [param.dtype for param in params],
    )


def _check_storage(param):
    if param.device.type not in ("cpu", "meta"):
        raise ValueError(f"parameters must be on the CPU, got device {param.device}")
    if param.dtype not in DTYPES:
        raise TypeError(f"parameters must be of torch.float32 or torch.float64, got {param.dtype}")


# ---- the modules -------------------------------------------------------------------------------------------


def _in_transform():
    """Whether torch traces, compiles or transforms this call, so that values alone are not what it needs."""
    return (
        torch.compiler.is_compiling()  # first: torch.compile reads no further
        or torch.jit.is_tracing()
        or torch._C._len_torch_dispatch_stack() > 0
        or _in_functional_transform()
    )


def _in_functional_transform():
    """Whether a transform of torch.func or forward-mode differentiation is active."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def _own_array(name, value, kinds, what):
    """lengths or reset as an ndarray of its own, of a kind that NumPy names by a letter of kinds."""
    if isinstance(value, torch.Tensor):
        _check_tensor(name, value, (1, 2))
        if not value.is_cpu or value.is_floating_point() or value.is_complex():
            raise TypeError(f"{name} must be of {what} on the CPU, got {value.dtype} on {value.device}")
        value = value.numpy()
    return np.array(_core.checked_array(value, name, kinds, what))


def _check_tensor(name, tensor, dims):
    """Raise unless this is a dense tensor with so many axes."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.layout is not torch.strided or tensor.is_nested:
        kind = "nested" if tensor.is_nested else f"{tensor.layout}"
        raise TypeError(f"{name} must be a dense tensor, got a {kind} one")
    if tensor.dim() not in dims:
        raise ValueError(f"{name} must have {' or '.join(map(str, dims))} axes, got shape {tuple(tensor.shape)}")


def _checked_tokens(name, tensor):
    """A tensor of integers, (T,B) or (T,)."""
    _check_tensor(name, tensor, (1, 2))
    if tensor.is_cpu and not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool):
        return tensor
    raise TypeError(f"{name} must be of integers on the CPU, got {tensor.dtype} on {tensor.device}")


def _checked_input(name, tensor, dtype, dims):
    """A tensor of the parameters' dtype."""
    _check_tensor(name, tensor, dims)
    if tensor.dtype is dtype and tensor.is_cpu:
        return tensor
    if tensor.is_cpu and tensor.dtype in (torch.bfloat16, torch.float16) and torch._C._is_any_autocast_enabled():
        return tensor.to(dtype)
    raise TypeError(f"{name} must be of {dtype} on the CPU, as the parameters, got {tensor.dtype} on {tensor.device}")


class _Module(torch.nn.RNNBase):
    """What the three classes share: where the parameters lie, and the call.

    bptt reads parameters without a copy where they lie one behind the other in a buffer of the module. It moves them
    there only while their memory is new, so that nobody else has a view of it: when the module is made, converted to
    another dtype, or deep-copied. Parameters that come later stay where they are, and every call copies all of them.
    """

    _layout = None
    one_hot, num_embeddings, padding_idx = False, None, None

    def __init__(self, *args, one_hot=False, num_embeddings=None, padding_idx=None, **kwargs):
        super().__init__(*args, **kwargs)
        inputs = {"one_hot": one_hot, "num_embeddings": num_embeddings, "padding_idx": padding_idx}
        spec = Spec(self.input_size, self.hidden_size, **inputs)  # raises where these do not go together
        for name in inputs:
            setattr(self, name, getattr(spec, name))
        if self.num_embeddings is not None:
            table = self.weight_ih_l0.new_empty(self.num_embeddings, self.input_size)
            self.embedding = torch.nn.Parameter(table)
            self._reset_embedding()
        self._layout_for(self._current_params())  # raises where bptt has no such network
        self._gather()

    def _gather(self):
        """Move the parameters, whose memory is new, into one buffer. If they are no network, a call says so."""
        params = self._stored_params()
        if params is None or _in_transform() or any(not p.is_cpu or p.is_shared() for p in params):
            return
        if len(set(map(id, params))) < len(params):  # tied: one tensor cannot lie in two places
            return
        self._layout = None  # a new one: its network has memory that nobody else uses
        try:
            layout = self._layout_for(params)
            layout.check(params)
        except (TypeError, ValueError):
            return
        layout.move(params)

    def reset_parameters(self):
        super().reset_parameters()
        if self.num_embeddings is not None:
            self._reset_embedding()

    def _reset_embedding(self):
        """As torch.nn.Embedding does."""
        torch.nn.init.normal_(self.embedding)
        if self.padding_idx is not None:
            with torch.no_grad():
                self.embedding[self.padding_idx].fill_(0)

    def _param_names(self):
        """The names of the parameters in the order of bptt's."""
        return self._flat_weights_names if self.num_embeddings is None else [*self._flat_weights_names, "embedding"]

    def _stored_params(self):
        """The parameters in the order of bptt's, None unless the module holds all of them."""
        stored = self._parameters
        params = [stored.get(name) for name in self._param_names()]
        for param in params:
            if param is None:
                return None
        return params

    def _current_params(self):
        """What torch.nn would compute with: the parameters, or tensors in their place (parametrised, pruned)."""
        params = self._stored_params()
        if params is not None:
            return params
        self._update_flat_weights()
        params = [*self._flat_weights] if self.num_embeddings is None else [*self._flat_weights, self.embedding]
        for name, param in zip(self._param_names(), params, strict=True):
            if not isinstance(param, torch.Tensor):
                raise TypeError(f"{name} must be a torch.Tensor, got {type(param).__name__}")
        return params

    def _layout_for(self, params):
        """The layout of the module with its attributes as they are now, with which torch.nn would compute."""
        dtype = params[0].dtype
        key = (
            self._cell(), self.input_size, self.hidden_size, self.num_layers, self.bias, self.bidirectional,
            self.batch_first, self.dropout, self.proj_size, self.one_hot, self.num_embeddings, self.padding_idx, dtype,
        )  # fmt: skip
        layout = self._layout
        if layout is None or layout.key != key:
            _check_storage(params[0])
            layout = _Layout(self, key)
            if self._layout is not None:
                layout.take_buffer(self._layout)
            self._layout = layout
        return layout

    def _apply(self, fn, recurse=True):
        before = self._kinds()
        for param in self.parameters(recurse=False):
            _check_storage(fn(param.new_empty(0)))  # before any of them is changed
        super()._apply(fn, recurse)
        after = self._kinds()
        if all(old != new for old, new in zip(before, after, strict=True)):
            self._gather()
        return self

    def _kinds(self):
        return [(param.dtype, param.device) for param in self._parameters.values() if param is not None]

    def __deepcopy__(self, memo):
        replica = memo[id(self)] = type(self).__new__(type(self))
        if torch.nn.utils.parametrize.is_parametrized(self):  # then it has no state for __setstate__
            replica.__dict__ = copy.deepcopy(self.__dict__, memo)
        else:
            replica.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        replica._gather()
        return replica

    def forward(self, input, hx=None, *, lengths=None, reset=None, return_states=False):
        """Run the module over a sequence, see torch.nn.

        Parameters
        ----------
        input : torch.Tensor or torch.nn.utils.rnn.PackedSequence
            (T,B,I), with batch_first (B,T,I), or (T,I). With one_hot or num_embeddings integers, without the axis I.
        hx : torch.Tensor, for an LSTM the pair (h_0, c_0), optional
            The initial state; zeros by default.
        lengths : torch.Tensor of int or array_like, (B,), optional
            Row b has steps 0..lengths[b]-1, in any order of lengths, as in a PackedSequence: outputs beyond are zero,
            h_n is that of the row's last step, and the reverse direction starts there.
        reset : torch.Tensor of bool or array_like, (T,B), with batch_first (B,T), optional
            True: a sequence begins at this step of this row, from a state of zeros, also at step 0, where hx counts
            nothing then. Neither a state nor a gradient crosses. The reverse direction, which comes from the row's
            end, begins anew at the step before.
        return_states : bool
            Whether to return the states after all steps, too.

        Returns
        -------
        output : torch.Tensor or torch.nn.utils.rnn.PackedSequence
        h_n : torch.Tensor, for an LSTM the pair (h_n, c_n)
        states : torch.Tensor, for an LSTM the pair of them, (T,L*D,B,H) also with batch_first, or (T,L*D,H)
            With return_states: h, for an LSTM h and c, of every layer and direction. Those of step t, states[t], are an
            hx that goes on from there. Zeros beyond a row's length. Gradients flow through them as through output.

        Raises
        ------
        ValueError
            If a shape does not fit, of an argument or a parameter, an attribute was changed that the parameters
            depend on, a length is not in 1..T, or an integer is out of range.
        TypeError
            If an argument is no tensor of the parameters' dtype, or the parameters have several; if lengths are no
            integers or reset no bools; if a PackedSequence comes with one of the last three arguments. Under autocast
            inputs of half precision are taken; the computation stays in the parameters' dtype, the results have the
            input's.
        """
        options = None  # none: a call that torch.nn has, too
        if lengths is not None or reset is not None or return_states is not False:
            if isinstance(input, PackedSequence):
                raise TypeError(
                    "lengths, reset and return_states go with a tensor, got a PackedSequence: pass what was packed, "
                    "and its lengths"
                )
            options = lengths, reset, flag(return_states, "return_states")
        if _in_transform():
            return self._forward_by_torch(input, hx, options)
        params = self._current_params()
        layout = self._layout_for(params)
        flat = layout.values(params)
        if options is not None:
            lengths = None if lengths is None else _own_array("lengths", lengths, "iu", "integers")
            reset = None if reset is None else _own_array("reset", reset, "biu", "bools")
            options = lengths, reset, options[2]
        if self.dropout == 1 or (isinstance(input, torch.Tensor) and input.numel() == 0):
            return self._forward_by_torch(input, hx, options)
        if isinstance(input, PackedSequence):
            return self._forward_packed(layout, flat, params, input, hx)
        return self._forward(layout, flat, params, input, hx, *(options or ()))

    def _forward_by_torch(self, input, hx, options):
        """torch.nn's forward, of the vectors that integers stand for; step by step where it has none."""
        if isinstance(input, PackedSequence):
            return super().forward(input._replace(data=self._vectors(input.data)), hx)
        vectors = self._vectors(input)
        if options is None:
            return super().forward(vectors, hx)
        lengths, reset, return_states = options
        lengths, reset = (None if a is None else torch.as_tensor(a) for a in (lengths, reset))
        cell, params = self._cell(), self._current_params()[: len(self._flat_weights_names)]
        _check_tensor("input", vectors, (2, 3))
        state = _initial_parts(hx, 2 if cell == "lstm" else 1, params[0].dtype, vectors.dim())
        dropout = self.dropout if self.training else 0.0
        return _results(*by_torch(cell, self, vectors, state, params, lengths, reset, return_states, dropout))

    def _vectors(self, input):
        """What stands for an input: itself, rows of the embedding or unit vectors."""
        if self.num_embeddings is not None:
            return rows_of(input, self.embedding, self.padding_idx)
        return one_hot(input, self.input_size, self.weight_ih_l0.dtype) if self.one_hot else input

    def extra_repr(self):
        inputs = {name: getattr(self, name) for name in ("one_hot", "num_embeddings", "padding_idx")}
        given = [f", {name}={v}" for name, v in inputs.items() if v is not None and v is not False]
        return super().extra_repr() + "".join(given)

    def _forward_packed(self, layout, flat, params, packed, hx):
        data, batch_sizes, sorted_indices, unsorted_indices = packed
        axes = 1 if layout.network.spec.vocabulary else 2
        if data.dim() != axes:
            raise ValueError(f"the data of input must have {axes} axes, got shape {tuple(data.shape)}")
        padded, lengths = pad_packed_sequence(PackedSequence(data, batch_sizes), self.batch_first)  # longest first
        hx = None if hx is None else self.permute_hidden(hx, sorted_indices)
        output, state = self._forward(layout, flat, params, padded, hx, lengths.numpy())
        data = pack_padded_sequence(output, lengths, self.batch_first).data
        output = PackedSequence(data, batch_sizes, sorted_indices, unsorted_indices)
        return output, self.permute_hidden(state, unsorted_indices)

    def _forward(self, layout, flat, params, input, hx, lengths=None, reset=None, return_states=False):
        given, network = input, layout.network
        if network.spec.vocabulary:
            input = _checked_tokens("input", input)
            dims = input.dim() + 1
        else:
            input = _checked_input("input", input, layout.dtype, (2, 3))
            dims = input.dim()
        state = _initial_parts(hx, network.states, layout.dtype, dims)
        network.threads = torch.get_num_threads()
        seed = int(torch.randint(2**63 - 1, ())) if self.training and self.dropout and self.num_layers > 1 else None
        run = _core.Run(network, lengths, seed, reset)
        if torch.is_grad_enabled():
            output, *state = _Sequence.apply(_Call(run, lengths, reset, return_states), flat, input, *state, *params)
        else:
            output, state, _ = run.forward(_array(input), flat.numpy(), _arrays(state), False, return_states)
            output, state = torch.from_numpy(output), [torch.from_numpy(part) for part in state]
        if given is not input:
            output, state = output.to(given.dtype), [part.to(given.dtype) for part in state]
        return _results(output, state[: network.states], state[network.states :])


def _results(output, state, states):
    """What a forward returns; states is empty where it was not asked for them."""
    state = tuple(state) if len(state) == 2 else state[0]
    if not states:
        return output, state
    return output, state, tuple(states) if len(states) == 2 else states[0]


def _initial_parts(hx, states, dtype, dims):
    """The parts of the initial state, None where it is zero."""
    if hx is None:
        return [None] * states
    if states == 1:
        return [_checked_input("hx", hx, dtype, (dims,))]
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        raise TypeError(f"hx must be the pair (h_0, c_0) for an LSTM, got {type(hx).__name__}")
    return [_checked_input(f"hx[{i}]", part, dtype, (dims,)) for i, part in enumerate(hx)]


class RNN(_Module, torch.nn.RNN):
    """A torch.nn.RNN that bptt computes.

    Parameters
    ----------
    *args, **kwargs : see torch.nn.RNN
        (input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False, dropout=0.0,
        bidirectional=False, device=None, dtype=None)
    one_hot, num_embeddings, padding_idx : see bptt.RNN
        For an input of integers.
    """

    def _cell(self):
        cell = {"RNN_TANH": "tanh", "RNN_RELU": "relu"}.get(self.mode)
        if cell is None:
            raise ValueError(f"mode must be RNN_TANH or RNN_RELU, got {self.mode!r}")
        return cell


class LSTM(_Module, torch.nn.LSTM):
    """A torch.nn.LSTM that bptt computes.

    Parameters
    ----------
    *args, **kwargs : see torch.nn.LSTM
        (input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
        device=None, dtype=None)
    one_hot, num_embeddings, padding_idx : see bptt.RNN
        For an input of integers.
    """

    def _cell(self):
        return "lstm"


class GRU(_Module, torch.nn.GRU):
    """A torch.nn.GRU that bptt computes.

    Parameters
    ----------
    *args, **kwargs : see torch.nn.GRU
        (input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
        device=None, dtype=None)
    one_hot, num_embeddings, padding_idx : see bptt.RNN
        For an input of integers.
    """

    def _cell(self):
        return "gru"
