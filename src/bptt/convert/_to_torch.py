"""Networks to torch.nn's recurrent modules and a Linear readout."""

from __future__ import annotations

import torch

from .._rnn import RNN
from ._common import check_network, refuse

MODULES = {"tanh": torch.nn.RNN, "relu": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
READOUT_NAMES = {"weight_ho": "weight", "bias_o": "bias"}


def to_torch(rnn: RNN):
    """PyTorch modules with copies of the network's parameters.

    Parameters
    ----------
    rnn : bptt.RNN
        The network.

    Returns
    -------
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
        ],
    )
    state = {name: torch.from_numpy(array) for name, array in rnn.state_dict().items()}
    readout_state = {theirs: state.pop(ours) for ours, theirs in READOUT_NAMES.items() if ours in state}
    options = {name: getattr(rnn, name) for name in ("num_layers", "bidirectional", "bias", "dropout", "batch_first")}
    if MODULES[rnn.cell] is torch.nn.RNN:
        options["nonlinearity"] = rnn.cell
    module = _with_state(MODULES[rnn.cell], rnn.input_size, rnn.hidden_size, state=state, **options)
    if not readout_state:
        return module, None
    width = rnn.hidden_size * (1 + rnn.bidirectional)
    return module, _with_state(torch.nn.Linear, width, rnn.output_size, state=readout_state, bias=rnn.bias)


def _with_state(kind, *sizes, state, **options):
    """A module that holds these tensors. On device "meta" it draws no initial values, so torch's random generator is
    left as it was."""
    module = kind(*sizes, device="meta", **options)
    module.load_state_dict(state, assign=True)
    return module
