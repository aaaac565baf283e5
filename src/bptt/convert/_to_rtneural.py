"""Networks to the JSON files that RTNeural and plug-ins built on it load. RTNeural itself is not needed."""

from __future__ import annotations

import numpy as np

from .._rnn import RNN, check_network
from ._common import check_finite, leak, refuse
from ._json_files import given_fields, write_object
from ._rtneural_layout import FIELDS, GATES, bias_shape
from ._to_keras_weights import to_keras_weights


def to_rtneural(
    rnn: RNN,
    path,
    *,
    in_skip: int | None = None,
    in_gain: float | None = None,
    out_gain: float | None = None,
    samplerate: float | None = None,
    metadata: dict | None = None,
) -> None:
    """Write the network as RTNeural's JSON: its layers "lstm" or "gru", and "dense" for the readout.

    The keyword arguments are fields of plug-ins that load such files, AIDA-X first of all; RTNeural itself does not
    look at them. A field that is None is not written.

    Parameters
    ----------
    rnn : bptt.RNN
        The network, with cell="lstm" or "gru".
    path : str or os.PathLike
        The file, by custom with the ending .json. A file of that name is replaced.
    in_skip : {0, 1}, optional
        1: the plug-in adds the input to the network's output, so the network must have been trained so: y = x + rnn(x).
    in_gain, out_gain : float, optional
        Gains in dB before the network and behind it; out_gain acts on the network's output alone, before in_skip.
    samplerate : float, optional
        The sample rate that the network was trained at, in Hz.
    metadata : dict, optional
        What else the file shall say, such as {"name": "my amp"}: an object of JSON. AIDA-X takes a number "samplerate"
        in it before the other one.

    Raises
    ------
    TypeError
        If rnn is no bptt.RNN, or an argument has another type.
    ValueError
        If the file cannot hold a feature of the network: other cells, reset_after=False, peepholes, two directions,
        integers as inputs, learned states; for parameters that are not finite in float32; for fields out of range.
    OSError
        If the file cannot be written.

    Notes
    -----
    RTNeural begins at a state of zeros. The biases b_ih and b_hh of an LSTM become one, their sum; those that a network
    with bias=False lacks are zeros. Dropout acts in training only and is not in the file.
    """
    check_network(rnn)
    values = {"in_skip": in_skip, "in_gain": in_gain, "out_gain": out_gain}
    fields = given_fields(values | {"samplerate": samplerate, "metadata": metadata}, FIELDS)
    refuse(
        "RTNeural",
        [
            (f"cell={rnn.cell!r}", rnn.cell not in GATES),
            leak(rnn),
            ("reset_after=False", not rnn.reset_after),
            ("peepholes=True", rnn.peepholes),
            ("bidirectional=True", rnn.bidirectional),
            ("learn_state=True", rnn.learn_state),
            ("one_hot=True", rnn.one_hot),
            ("num_embeddings", rnn.num_embeddings is not None),
        ],
    )
    check_finite(rnn.param_views())
    write_object(path, {"in_shape": [None, None, rnn.input_size], "layers": _layers(rnn)} | fields)


def _layers(rnn):
    """The layers, with biases of zeros where the network has none: RTNeural's loader wants those of an LSTM or GRU."""
    recurrent, readout = to_keras_weights(rnn)
    biases = [] if rnn.bias else [np.zeros(bias_shape(rnn.cell, rnn.hidden_size))]
    layers = [_layer(rnn.cell, "tanh", rnn.hidden_size, arrays + biases) for arrays in recurrent]
    if readout is not None:
        biases = [] if rnn.bias else [np.zeros(rnn.output_size)]
        layers.append(_layer("dense", "", rnn.output_size, readout + biases))
    return layers


def _layer(kind, activation, size, arrays):
    weights = [array.tolist() for array in arrays]
    return {"type": kind, "activation": activation, "shape": [None, None, size], "weights": weights}
