"""RNN, LSTM and GRU with the interface of torch.nn's, computed by bptt: change one import and the script stays.

>>> from bptt.torch import LSTM
>>> lstm = LSTM(input_size=8, hidden_size=32, num_layers=2, batch_first=True)

The classes are subclasses of torch.nn's: arguments, attributes, initial values, parameters and their names are theirs,
so that a state_dict goes both ways. Forward and backward run in bptt, without a copy where inputs are contiguous and
time-major, on the CPU in float32 or float64, with as many threads as torch.get_num_threads() says. The masks of dropout
are drawn from torch's generator, but they are others than torch.nn's. Gradients may be taken once: there is no double
backward, and neither proj_size nor TorchScript nor the transforms of torch.func.
"""

from __future__ import annotations

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from . import _core
from ._init import zeros
from ._rnn import RNN as Network

__all__ = ["GRU", "LSTM", "RNN"]


class _Sequence(torch.autograd.Function):
    """One call of bptt as a node of torch's graph: from input, initial state and parameters to output and state."""

    @staticmethod
    def forward(ctx, run, input, *tensors):
        keep = True in ctx.needs_input_grad
        output, state, tape = run.forward(input.detach().numpy(), _arrays(tensors[: run.states]), keep)
        if keep:
            ctx.run = run
            ctx.set_materialize_grads(False)
            # params only so that torch says when one was changed before backward; all are freed with the graph
            ctx.save_for_backward(input, torch.from_numpy(tape), *tensors[run.states :])
        return torch.from_numpy(output), *map(torch.from_numpy, state)

    @staticmethod
    def backward(ctx, *grads):
        if not torch.is_grad_enabled():
            return _backward(ctx, *grads)
        with torch.no_grad():  # create_graph=True
            grads = _backward(ctx, *grads)
        return _OnceOnly.apply(torch.empty((), requires_grad=True), *grads)


class _OnceOnly(torch.autograd.Function):
    """Gradients that depend on a tensor, so that a second backward over them is an error and not silently zero."""

    @staticmethod
    def forward(ctx, anchor, *grads):
        return grads

    @staticmethod
    def backward(ctx, *grads):
        raise RuntimeError("bptt.torch has no double backward: use torch.nn where gradients are differentiated again")


def _backward(ctx, *grads):
    run = ctx.run
    input, tape, *params = ctx.saved_tensors
    _, input_wanted, *wanted = ctx.needs_input_grad
    state_wanted, params_wanted = wanted[: run.states], wanted[run.states :]
    doutput, *dstate = _arrays(grads)
    dinput, dstate0, flat = run.backward(
        input.detach().numpy(), tape.numpy(), doutput, dstate, input_wanted, True in state_wanted, True in params_wanted
    )
    return (
        None,
        torch.from_numpy(dinput) if input_wanted else None,
        *(torch.from_numpy(part) if want else None for part, want in zip(dstate0, state_wanted, strict=True)),
        *_split(flat, params, params_wanted),
    )


def _split(flat, params, wanted):
    """The tensors that lie in a flat gradient, None where one is not wanted."""
    parts, end = [], 0
    for param, want in zip(params, wanted, strict=True):
        start, end = end, end + param.numel()
        parts.append(torch.from_numpy(flat[start:end].reshape(param.shape)) if want else None)
    return parts


def _arrays(tensors):
    return [None if tensor is None else tensor.detach().numpy() for tensor in tensors]


def _check_storage(name, tensor):
    if tensor.device.type != "cpu":
        raise ValueError(f"{name} must be on the CPU, got device {tensor.device}")
    if tensor.dtype is not torch.float32 and tensor.dtype is not torch.float64:
        raise TypeError(f"{name} must be of torch.float32 or torch.float64, got {tensor.dtype}")


def _check_input(name, tensor, dtype, dims):
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.dtype is not dtype or not tensor.is_cpu:
        raise TypeError(
            f"{name} must be of {dtype} on the CPU, as the parameters, got {tensor.dtype} on {tensor.device}"
        )
    if tensor.dim() not in dims:
        raise ValueError(f"{name} must have {' or '.join(map(str, dims))} axes, got shape {tuple(tensor.shape)}")


def _flatten(module, incompatible_keys):
    """After load_state_dict(assign=True) the parameters are other tensors."""
    module.flatten_parameters()


class _Module(torch.nn.RNNBase):
    """What the three classes share: one buffer for the parameters, and the call."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_load_state_dict_post_hook(_flatten)

    def flatten_parameters(self):
        """Move the parameters into one buffer that bptt reads where it is.

        Notes
        -----
        A module does so when it is made, converted, copied and loaded. Parameters that lie elsewhere (parametrised, in
        shared memory, those of another module, those that torch.func.functional_call puts in) are copied in every call.
        """
        params = [self._parameters.get(name) for name in self._flat_weights_names]
        if any(p is None or p.is_shared() for p in params) or self._in_place(params):
            return
        network = self._new_network(params)
        for view, p in zip(network.param_views().values(), params, strict=True):
            p.data = torch.from_numpy(view)
        self._network, self._addresses = network, [p.data_ptr() for p in params]

    def _in_place(self, params):
        return [p.data_ptr() for p in params] == self.__dict__.get("_addresses")

    def _new_network(self, params):
        """A network of this kind with copies of these parameters."""
        if self.proj_size:
            raise ValueError(f"proj_size must be 0, bptt has no projections, got {self.proj_size}")
        _check_storage("parameters", params[0])
        network = Network(
            self.input_size,
            self.hidden_size,
            cell={"RNN_TANH": "tanh", "RNN_RELU": "relu", "LSTM": "lstm", "GRU": "gru"}[self.mode],
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            bias=self.bias,
            dropout=self.dropout,
            batch_first=self.batch_first,
            dtype=str(params[0].dtype).removeprefix("torch."),
            init=zeros,
        )
        for view, param in zip(network.param_views().values(), _arrays(params), strict=True):
            view[...] = param
        return network

    def _apply(self, fn, recurse=True):
        for param in self.parameters(recurse=False):
            _check_storage("parameters", fn(param.new_empty(0)))  # before any of them is changed
        return super()._apply(fn, recurse)

    def __getstate__(self):
        return {name: value for name, value in super().__getstate__().items() if name not in ("_network", "_addresses")}

    def __setstate__(self, state):
        super().__setstate__(state)
        self.flatten_parameters()

    def forward(self, input, hx=None):
        """Run the module over a sequence, see torch.nn.

        Parameters
        ----------
        input : torch.Tensor or torch.nn.utils.rnn.PackedSequence
            (T,B,I), with batch_first (B,T,I), or (T,I).
        hx : torch.Tensor, for an LSTM the pair (h_0, c_0), optional
            The initial state; zeros by default.

        Returns
        -------
        output : torch.Tensor or torch.nn.utils.rnn.PackedSequence
        h_n : torch.Tensor, for an LSTM the pair (h_n, c_n)
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        return self._forward(input, hx)

    def _forward_packed(self, packed, hx):
        data, batch_sizes, sorted_indices, unsorted_indices = packed
        padded, lengths = pad_packed_sequence(PackedSequence(data, batch_sizes), self.batch_first)  # longest first
        hx = None if hx is None else self.permute_hidden(hx, sorted_indices)
        output, state = self._forward(padded, hx, lengths)
        data = pack_padded_sequence(output, lengths, self.batch_first).data
        output = PackedSequence(data, batch_sizes, sorted_indices, unsorted_indices)
        return output, self.permute_hidden(state, unsorted_indices)

    def _forward(self, input, hx, lengths=None):
        stored = self._parameters
        params = [stored[name] if name in stored else getattr(self, name) for name in self._flat_weights_names]
        _check_input("input", input, params[0].dtype, (2, 3))
        state = self._initial_parts(hx, params[0].dtype, input.dim())
        network = self._network if self._in_place(params) else self._new_network(params)
        network.threads = torch.get_num_threads()
        seed = int(torch.randint(2**63 - 1, ())) if self.training and self.dropout else None
        run = _core.Run(network, None if lengths is None else lengths.numpy(), seed)
        if torch.is_grad_enabled():
            output, *state = _Sequence.apply(run, input, *state, *params)
        else:
            output, state, _ = run.forward(input.detach().numpy(), _arrays(state), False)
            output, state = torch.from_numpy(output), [torch.from_numpy(part) for part in state]
        return output, tuple(state) if self.mode == "LSTM" else state[0]

    def _initial_parts(self, hx, dtype, dims):
        """The parts of the initial state, None where it is zero."""
        pair = self.mode == "LSTM"
        if hx is None:
            return [None, None] if pair else [None]
        if pair and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            raise TypeError(f"hx must be the pair (h_0, c_0) for an LSTM, got {type(hx).__name__}")
        state = list(hx) if pair else [hx]
        for i, part in enumerate(state):
            _check_input(f"hx[{i}]" if pair else "hx", part, dtype, (dims,))
        return state


class RNN(_Module, torch.nn.RNN):
    """A torch.nn.RNN that bptt computes.

    Parameters
    ----------
    *args, **kwargs : see torch.nn.RNN
        (input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False, dropout=0.0,
        bidirectional=False, device=None, dtype=None)
    """


class LSTM(_Module, torch.nn.LSTM):
    """A torch.nn.LSTM that bptt computes.

    Parameters
    ----------
    *args, **kwargs : see torch.nn.LSTM
        (input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
        device=None, dtype=None)
    """


class GRU(_Module, torch.nn.GRU):
    """A torch.nn.GRU that bptt computes.

    Parameters
    ----------
    *args, **kwargs : see torch.nn.GRU
        (input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
        device=None, dtype=None)
    """
