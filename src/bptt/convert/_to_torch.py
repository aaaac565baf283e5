"""Networks to torch.nn's recurrent modules, an Embedding in front where they take integers, and a Linear readout."""

from __future__ import annotations

import torch

from .._rnn import RNN, check_network
from ._common import leak, refuse

MODULES = {"tanh": torch.nn.RNN, "relu": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
READOUT_NAMES = {"weight_ho": "weight", "bias_o": "bias"}


def to_torch(rnn: RNN):
    """PyTorch modules with copies of the network's parameters: (module, readout), of a network that takes integers
    (embedding, module, readout).

    Parameters
    ----------
    rnn : bptt.RNN
        The network.

    Returns
    -------
    embedding : torch.nn.Embedding
        Only where the network has num_embeddings or one_hot: what the integers go through before the module. Of
        num_embeddings the table, with padding_idx. Of one_hot the identity matrix (V,V), frozen, so that weight_ih_l0
        keeps its columns: it takes V*V numbers of memory.
    module : torch.nn.RNN, LSTM or GRU
        The recurrent layers.
    readout : torch.nn.Linear or None
        The readout, None without one.

    Raises
    ------
    TypeError
        If rnn is no bptt.RNN.
    ValueError
        If torch.nn lacks a feature of the network.
    """
    check_network(rnn)
    refuse(
        "torch.nn",
        [
            (f"cell={rnn.cell!r}", rnn.cell not in MODULES),
            ("reset_after=False", not rnn.reset_after),
            ("peepholes=True", rnn.peepholes),
            ("learn_state=True (give the states as hx)", rnn.learn_state),
            (f"recurrent_dropout={rnn.recurrent_dropout}", rnn.recurrent_dropout),
            leak(rnn),
            (f"noise={rnn.noise}", rnn.noise),
        ],
    )
    state = {name: torch.from_numpy(array) for name, array in rnn.state_dict().items()}
    readout_state = {theirs: state.pop(ours) for ours, theirs in READOUT_NAMES.items() if ours in state}
    embedding = _embedding(rnn, state)
    options = {name: getattr(rnn, name) for name in ("num_layers", "bidirectional", "bias", "dropout", "batch_first")}
    if MODULES[rnn.cell] is torch.nn.RNN:
        options["nonlinearity"] = rnn.cell
    module = _with_state(MODULES[rnn.cell], rnn.input_size, rnn.hidden_size, state=state, **options)
    readout = None
    if readout_state:
        width = rnn.hidden_size * (1 + rnn.bidirectional)
        readout = _with_state(torch.nn.Linear, width, rnn.output_size, state=readout_state, bias=rnn.bias)
    return (module, readout) if embedding is None else (embedding, module, readout)


def _embedding(rnn, state):
    """The module in front of the recurrent ones, None for real inputs; takes the table out of the state."""
    if rnn.one_hot:
        return torch.nn.Embedding.from_pretrained(torch.eye(rnn.input_size, dtype=state["weight_ih_l0"].dtype))
    if rnn.num_embeddings is None:
        return None
    table = {"weight": state.pop("embedding")}
    sizes = rnn.num_embeddings, rnn.input_size
    return _with_state(torch.nn.Embedding, *sizes, state=table, padding_idx=rnn.padding_idx)


def _with_state(kind, *sizes, state, **options):
    """A module that holds these tensors. On device "meta" it draws no initial values, so torch's random generator is
    left as it was."""
    module = kind(*sizes, device="meta", **options)
    module.load_state_dict(state, assign=True)
    return module
