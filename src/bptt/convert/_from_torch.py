"""Networks from torch.nn's recurrent modules, with or without a Linear readout."""

from __future__ import annotations

import torch

from .._rnn import RNN
from ._common import build, suffixes

CELL_MODULES = (torch.nn.RNNCell, torch.nn.LSTMCell, torch.nn.GRUCell)
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def from_torch(module, readout=None, *, threads: int | None = None) -> RNN:
    """A network with copies of the parameters of a PyTorch module.

    Its dtype, bias, dropout and batch_first are the module's. If only one of module and readout has biases, those of
    the other are zeros.

    Parameters
    ----------
    module : torch.nn.RNN, LSTM, GRU, RNNCell, LSTMCell or GRUCell
        The recurrent module.
    readout : torch.nn.Linear, optional
        The linear layer that follows the module.
    threads : int, optional
        As in `bptt.RNN`.

    Returns
    -------
    bptt.RNN
        The network.

    Raises
    ------
    TypeError
        For other modules, and for parameters that are not all float32 or all float64.
    ValueError
        For a module with proj_size, and for a readout whose in_features is not the width of the module's outputs.
    """
    if isinstance(module, torch.nn.RNNBase):
        description, state = _from_module(module)
    elif isinstance(module, CELL_MODULES):
        description, state = _from_cell(module)
    else:
        raise TypeError(
            f"module must be a torch.nn.RNN, LSTM, GRU, RNNCell, LSTMCell or GRUCell, got {_type_name(module)}"
        )
    if readout is not None:
        _add_readout(description, state, readout)
    dtypes = {tensor.dtype for tensor in state.values()}
    if dtypes not in ({torch.float32}, {torch.float64}):
        raise TypeError(
            f"module's parameters must all be torch.float32 or all torch.float64, got {', '.join(map(str, dtypes))}"
        )
    description["dtype"] = str(dtypes.pop()).removeprefix("torch.")
    return build(description, {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}, threads)


def _from_module(module):
    """The description and the tensors of a torch.nn.RNN, LSTM or GRU."""
    if module.proj_size:
        raise ValueError(f"module must have proj_size 0, bptt has no projections, got {module.proj_size}")
    same = ("input_size", "hidden_size", "num_layers", "bidirectional", "bias", "dropout", "batch_first")
    description = {name: getattr(module, name) for name in same} | {"cell": module.mode.removeprefix("RNN_").lower()}
    names = [
        f"{parameter}_{suffix}"
        for suffix in suffixes(module.num_layers, module.bidirectional)
        for parameter in PARAMETERS[: 4 if module.bias else 2]
    ]
    return description, {name: getattr(module, name) for name in names}


def _from_cell(module):
    """The description and the tensors of a torch.nn.RNNCell, LSTMCell or GRUCell."""
    is_rnn = isinstance(module, torch.nn.RNNCell)
    cell = module.nonlinearity if is_rnn else _type_name(module).removesuffix("Cell").lower()
    same = ("input_size", "hidden_size", "bias")
    description = {name: getattr(module, name) for name in same} | {"cell": cell}
    return description, {f"{name}_l0": getattr(module, name) for name in PARAMETERS[: 4 if module.bias else 2]}


def _add_readout(description, state, readout):
    if not isinstance(readout, torch.nn.Linear):
        raise TypeError(f"readout must be a torch.nn.Linear, got {_type_name(readout)}")
    width = description["hidden_size"] * (1 + description.get("bidirectional", False))
    if readout.in_features != width:
        raise ValueError(f"readout must have in_features = {width}, as many as the outputs, got {readout.in_features}")
    description["output_size"] = readout.out_features
    state["weight_ho"] = readout.weight
    if readout.bias is not None:
        description["bias"] = True
        state["bias_o"] = readout.bias


def _type_name(value):
    return type(value).__name__
