"""Networks from torch.nn's recurrent modules, with or without an Embedding in front and a Linear readout."""

from __future__ import annotations

import torch
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from .._rnn import RNN
from .._spec import Spec
from ._common import build, suffixes

CELL_MODULES = (torch.nn.RNNCell, torch.nn.LSTMCell, torch.nn.GRUCell)
GATES = {"lstm": 4, "gru": 3}  # of the other cells 1
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def from_torch(module, readout=None, *, embedding=None, threads: int | None = None) -> RNN:
    """A network with copies of the parameters of a PyTorch module.

    Its dtype, bias, dropout and batch_first are the module's. If only one of module and readout has biases, those of
    the other are zeros.

    Parameters
    ----------
    module : torch.nn.RNN, LSTM, GRU, RNNCell, LSTMCell or GRUCell
        The recurrent module.
    readout : torch.nn.Linear, optional
        The linear layer that follows the module.
    embedding : torch.nn.Embedding, optional
        The table in front of the module: the network has its num_embeddings and padding_idx. An identity matrix that
        is frozen (requires_grad=False), as to_torch makes it, gives a network with one_hot=True.
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
        For a module with proj_size, for a readout whose in_features is not the width of the module's outputs, for an
        embedding whose rows do not fit the module or that has max_norm or scale_grad_by_freq, and for parameters that
        are missing, without values, or not of the shape that the module's attributes say.

    Notes
    -----
    Of the modules of bptt.torch the network takes one_hot, num_embeddings and padding_idx.
    """
    if isinstance(module, torch.nn.RNNBase):
        description = _of_module(module)
    elif isinstance(module, CELL_MODULES):
        description = _of_cell(module)
    else:
        raise TypeError(
            f"module must be a torch.nn.RNN, LSTM, GRU, RNNCell, LSTMCell or GRUCell, got {_type_name(module)}"
        )
    state = _tensors(module, Spec(**description), "" if isinstance(module, torch.nn.RNNBase) else "_l0")
    if embedding is not None:
        _add_embedding(description, state, embedding)
    elif description.get("num_embeddings"):
        state["embedding"] = _tensor(
            module, "embedding", "module", (description["num_embeddings"], description["input_size"])
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


def _of_module(module):
    """The description of a torch.nn.RNN, LSTM or GRU."""
    if module.proj_size:
        raise ValueError(f"module must have proj_size 0, bptt has no projections, got {module.proj_size}")
    same = ("input_size", "hidden_size", "num_layers", "bidirectional", "bias", "dropout", "batch_first")
    description = {name: getattr(module, name) for name in same} | {"cell": module.mode.removeprefix("RNN_").lower()}
    ours = ("one_hot", "num_embeddings", "padding_idx")  # which modules of bptt.torch have
    return description | {name: getattr(module, name) for name in ours if hasattr(module, name)}


def _of_cell(module):
    """The description of a torch.nn.RNNCell, LSTMCell or GRUCell."""
    kind = next(kind for kind in CELL_MODULES if isinstance(module, kind))
    cell = module.nonlinearity if kind is torch.nn.RNNCell else kind.__name__.removesuffix("Cell").lower()
    return {name: getattr(module, name) for name in ("input_size", "hidden_size", "bias")} | {"cell": cell}


def _tensors(module, spec, extra):
    """{name: tensor} of a module's parameters, whose names in the module end without `extra`."""
    _refresh(module)
    H, D, G = spec.hidden_size, 1 + spec.bidirectional, GATES.get(spec.cell, 1)
    state = {}
    for index, suffix in enumerate(suffixes(spec.num_layers, spec.bidirectional)):
        columns = {"weight_ih": (spec.input_size if index < D else D * H,), "weight_hh": (H,)}
        for parameter in PARAMETERS[: 4 if spec.bias else 2]:
            name = f"{parameter}_{suffix}"
            shape = (G * H, *columns.get(parameter, ()))
            state[name] = _tensor(module, name.removesuffix(extra), "module", shape)
    return state


def _refresh(module):
    """Compute the parameters that torch makes of others at the begin of each forward: they may be older than those."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, (BasePruningMethod, WeightNorm)):
            hook(module, ())
        elif isinstance(hook, SpectralNorm):
            setattr(module, hook.name, hook.compute_weight(module, do_power_iteration=False))


def _tensor(module, name, argument, shape):
    """A parameter, which has values and this shape."""
    tensor = getattr(module, name, None)
    if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape:
        found = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else _type_name(tensor)
        raise ValueError(f"{argument}.{name} must be a tensor of shape {shape}, got {found}")
    if tensor.is_meta or tensor.layout != torch.strided:
        raise ValueError(f"{argument}.{name} must have dense values, got {tensor.device} and {tensor.layout}")
    return tensor


def _add_embedding(description, state, embedding):
    if not isinstance(embedding, torch.nn.Embedding):
        raise TypeError(f"embedding must be a torch.nn.Embedding, got {_type_name(embedding)}")
    if description.get("one_hot") or description.get("num_embeddings"):
        raise ValueError("embedding must be None for a module that takes integers itself")
    _refresh(embedding)
    V, E = embedding.num_embeddings, embedding.embedding_dim
    if description["input_size"] != E:
        raise ValueError(
            f"embedding must have embedding_dim = {description['input_size']}, the module's inputs, got {E}"
        )
    for name, plain in (("max_norm", None), ("scale_grad_by_freq", False)):  # sparse has the same gradients
        found = getattr(embedding, name)
        if found != plain:
            raise ValueError(f"embedding must have {name}={plain}, bptt has no such option, got {found}")
    table = _tensor(embedding, "weight", "embedding", (V, E))
    if embedding.padding_idx is None and _is_frozen_identity(table):
        description["one_hot"] = True
    else:
        description |= {"num_embeddings": V, "padding_idx": embedding.padding_idx}
        state["embedding"] = table


def _is_frozen_identity(table):
    identity = torch.eye(len(table), dtype=table.dtype, device=table.device)
    return not table.requires_grad and table.shape == identity.shape and torch.equal(table, identity)


def _add_readout(description, state, readout):
    if not isinstance(readout, torch.nn.Linear):
        raise TypeError(f"readout must be a torch.nn.Linear, got {_type_name(readout)}")
    _refresh(readout)
    width = description["hidden_size"] * (1 + description.get("bidirectional", False))
    if readout.in_features != width:
        raise ValueError(f"readout must have in_features = {width}, as many as the outputs, got {readout.in_features}")
    description["output_size"] = readout.out_features
    state["weight_ho"] = _tensor(readout, "weight", "readout", (readout.out_features, width))
    if readout.bias is not None:
        description["bias"] = True
        state["bias_o"] = _tensor(readout, "bias", "readout", (readout.out_features,))


def _type_name(value):
    return type(value).__name__
