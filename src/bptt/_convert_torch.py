"""torch.nn's recurrent modules, with or without a Linear readout, to networks and back."""

import torch

from ._convert import build, refuse, suffixes

MODULES = {"tanh": torch.nn.RNN, "relu": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
CELL_MODULES = (torch.nn.RNNCell, torch.nn.LSTMCell, torch.nn.GRUCell)
KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def from_torch(cls, module, readout, threads):
    if isinstance(module, torch.nn.RNNBase):
        description, state = _module(module)
    elif isinstance(module, CELL_MODULES):
        description, state = _cell(module)
    else:
        raise TypeError(f"module must be a torch.nn.RNN, LSTM, GRU, RNNCell, LSTMCell or GRUCell, got {_kind(module)}")
    if readout is not None:
        _add_readout(description, state, readout)
    dtypes = {tensor.dtype for tensor in state.values()}
    if dtypes not in ({torch.float32}, {torch.float64}):
        raise TypeError(
            f"module's parameters must all be torch.float32 or all torch.float64, got {', '.join(map(str, dtypes))}"
        )
    description["dtype"] = str(dtypes.pop()).removeprefix("torch.")
    return build(cls, description, {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}, threads)


def _module(module):
    if module.proj_size:
        raise ValueError(f"module must have proj_size 0, bptt has no projections, got {module.proj_size}")
    same = ("input_size", "hidden_size", "num_layers", "bidirectional", "bias", "dropout", "batch_first")
    description = {name: getattr(module, name) for name in same} | {"cell": module.mode.removeprefix("RNN_").lower()}
    names = [
        f"{kind}_{suffix}"
        for suffix in suffixes(module.num_layers, module.bidirectional)
        for kind in KINDS[: 4 if module.bias else 2]
    ]
    return description, {name: getattr(module, name) for name in names}


def _cell(module):
    cell = module.nonlinearity if isinstance(module, torch.nn.RNNCell) else _kind(module).removesuffix("Cell").lower()
    same = ("input_size", "hidden_size", "bias")
    description = {name: getattr(module, name) for name in same} | {"cell": cell}
    return description, {f"{kind}_l0": getattr(module, kind) for kind in KINDS[: 4 if module.bias else 2]}


def _add_readout(description, state, readout):
    if not isinstance(readout, torch.nn.Linear):
        raise TypeError(f"readout must be a torch.nn.Linear, got {_kind(readout)}")
    width = description["hidden_size"] * (1 + description.get("bidirectional", False))
    if readout.in_features != width:
        raise ValueError(f"readout must have in_features = {width}, as many as the outputs, got {readout.in_features}")
    description["output_size"] = readout.out_features
    state["weight_ho"] = readout.weight
    if readout.bias is not None:
        description["bias"] = True
        state["bias_o"] = readout.bias


def _kind(obj):
    return type(obj).__name__


def to_torch(rnn):
    refuse(
        "torch.nn",
        [
            (f"cell={rnn.cell!r}", rnn.cell not in MODULES),
            ("reset_after=False", not rnn.reset_after),
            ("peepholes=True", rnn.peepholes),
            ("learn_state=True (give the states as hx)", rnn.learn_state),
            (f"recurrent_dropout={rnn.recurrent_dropout}", rnn.recurrent_dropout),
        ],
    )
    state = {name: torch.from_numpy(array) for name, array in rnn.state_dict().items()}
    theirs = {"weight_ho": "weight", "bias_o": "bias"}
    readout_state = {theirs[name]: state.pop(name) for name in theirs if name in state}
    options = {name: getattr(rnn, name) for name in ("num_layers", "bidirectional", "bias", "dropout", "batch_first")}
    if MODULES[rnn.cell] is torch.nn.RNN:
        options["nonlinearity"] = rnn.cell
    module = _assigned(MODULES[rnn.cell], rnn.input_size, rnn.hidden_size, state=state, **options)
    if not readout_state:
        return module, None
    width = rnn.hidden_size * (1 + rnn.bidirectional)
    return module, _assigned(torch.nn.Linear, width, rnn.output_size, state=readout_state, bias=rnn.bias)


def _assigned(kind, *sizes, state, **options):
    """A module that takes these tensors; no initial values are drawn, so that torch's generator stays where it is."""
    module = kind(*sizes, device="meta", **options)
    module.load_state_dict(state, assign=True)
    return module
