"""Networks to the weights that Keras' layers take. Keras itself is not needed."""

from __future__ import annotations

import numpy as np

from .._rnn import RNN, check_network
from ._common import leak, refuse, reorder_gates, suffixes
from ._keras_layout import gate_order


def to_keras_weights(rnn: RNN):
    """The network's weights as set_weights() of Keras' layers takes them: (layers, readout), with num_embeddings
    (embedding, layers, readout).

    Parameters
    ----------
    rnn : bptt.RNN
        The network.

    Returns
    -------
    embedding : list of one array
        That of an Embedding layer, only of a network with num_embeddings.
    layers : list of lists of arrays
        For each SimpleRNN, LSTM or GRU layer, or Bidirectional layer of these, its arrays.
    readout : list of arrays or None
        The arrays of a Dense layer, None without a readout.

    Raises
    ------
    TypeError
        If rnn is no bptt.RNN.
    ValueError
        For peepholes, learned states and a leak, which Keras does not have.

    Notes
    -----
    The inputs of a network with one_hot go through keras.ops.one_hot(x, V). An Embedding layer has no padding_idx: it
    would train that row.
    b_ih and b_hh become one bias, their sum, except in a GRU with reset_after, where Keras has both.
    """
    check_network(rnn)
    refuse("Keras", [("peepholes=True", rnn.peepholes), ("learn_state=True", rnn.learn_state), leak(rnn)])
    state, order = rnn.state_dict(), gate_order(rnn.cell)
    layers: list[list[np.ndarray]] = []
    D = 1 + rnn.bidirectional
    for index, suffix in enumerate(suffixes(rnn.num_layers, rnn.bidirectional)):
        arrays = [reorder_gates(state[f"weight_{to}_{suffix}"], order).T for to in ("ih", "hh")]
        if rnn.bias:
            biases = np.stack([reorder_gates(state[f"bias_{to}_{suffix}"], order) for to in ("ih", "hh")])
            arrays.append(biases if rnn.cell == "gru" and rnn.reset_after else biases.sum(0))
        if index % D:
            layers[-1] += arrays
        else:
            layers.append(arrays)
    readout = [state["weight_ho"].T, *([state["bias_o"]] if rnn.bias else [])] if rnn.output_size else None
    return (layers, readout) if rnn.num_embeddings is None else ([state["embedding"]], layers, readout)
