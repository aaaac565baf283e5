"""Networks to .nam files. Neural Amp Modeler itself is not needed."""

from __future__ import annotations

import numpy as np

from .._rnn import RNN, check_network
from ._common import check_finite, leak, refuse
from ._json_files import given_fields, write_object
from ._nam_layout import FIELDS, VERSION, VERSION_WITH_CHANNELS, tensor_shapes


def to_nam(rnn: RNN, path, *, sample_rate: float | None = None, metadata: dict | None = None) -> None:
    """Write the network as a .nam file with the architecture LSTM, for Neural Amp Modeler and plug-ins with its core.

    Parameters
    ----------
    rnn : bptt.RNN
        The network, with cell="lstm" and a readout. Plug-ins take one input and one output.
    path : str or os.PathLike
        The file, by custom with the ending .nam. A file of that name is replaced.
    sample_rate : float, optional
        The sample rate that the network was trained at, in Hz. Readers take a file without it as one for 48000.
    metadata : dict, optional
        What else the file shall say, an object of JSON: name, modeled_by, gear_type, gear_make, gear_model, tone_type;
        loudness, the output's level for a usual input in dB, and gain, from 0 to 1; input_level_dbu and
        output_level_dbu, the level in dBu of a sine wave at 0 dBFS.

    Raises
    ------
    TypeError
        If rnn is no bptt.RNN, or an argument has another type.
    ValueError
        If the file cannot hold a feature of the network: other cells, peepholes, two directions, integers as inputs, no
        readout; for parameters that are not finite in float32; for fields out of range.
    OSError
        If the file cannot be written.

    Notes
    -----
    A learned state becomes the layers' initial state; NAM's own player runs half a second of silence from there before
    it plays. The biases b_ih and b_hh become one, their sum; those that a network with bias=False lacks are zeros.
    Dropout acts in training only and is not in the file.
    """
    check_network(rnn)
    fields = given_fields({"sample_rate": sample_rate, "metadata": metadata}, FIELDS)
    refuse(
        "NAM's LSTM",
        [
            (f"cell={rnn.cell!r}", rnn.cell != "lstm"),
            leak(rnn),
            ("peepholes=True", rnn.peepholes),
            ("bidirectional=True", rnn.bidirectional),
            ("output_size=None", rnn.output_size is None),
            ("one_hot=True", rnn.one_hot),
            ("num_embeddings", rnn.num_embeddings is not None),
        ],
    )
    check_finite(rnn.param_views())
    write_object(path, _layout(rnn) | fields)


def _layout(rnn):
    """What a reader of the network looks at."""
    version = VERSION
    config = {"input_size": rnn.input_size, "hidden_size": rnn.hidden_size, "num_layers": rnn.num_layers}
    if rnn.input_size > 1 or rnn.output_size > 1:
        version = VERSION_WITH_CHANNELS
        config |= {"in_channels": rnn.input_size, "out_channels": rnn.output_size}
    return {"version": version, "architecture": "LSTM", "config": config, "weights": _weights(rnn)}


def _weights(rnn):
    """All numbers in the file's order."""
    tensors, H = rnn.state_dict(), rnn.hidden_size
    tensors.setdefault("bias_o", np.zeros(rnn.output_size))
    zeros = np.zeros((rnn.num_layers, H))
    h0, c0 = tensors.get("state_h0", zeros), tensors.get("state_c0", zeros)
    for layer in range(rnn.num_layers):
        tensors[f"weight_l{layer}"] = np.hstack([tensors[f"weight_{to}_l{layer}"] for to in ("ih", "hh")])
        biases = [tensors[f"bias_{to}_l{layer}"] for to in ("ih", "hh")] if rnn.bias else [np.zeros(4 * H)]
        tensors |= {f"bias_l{layer}": sum(biases), f"h0_l{layer}": h0[layer], f"c0_l{layer}": c0[layer]}
    names = [name for name, _ in tensor_shapes(rnn.input_size, H, rnn.output_size, rnn.num_layers)]
    return [number for name in names for number in tensors[name].ravel().tolist()]
