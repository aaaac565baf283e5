"""The layout of .nam files with the architecture LSTM, which Neural Amp Modeler and plug-ins built on its core load.

    {"version": "0.5.4", "architecture": "LSTM", "sample_rate": 48000, "metadata": {...},
     "config": {"input_size": I, "hidden_size": H, "num_layers": L}, "weights": [number, ...]}

The weights are, for each layer, [W_ih | W_hh] (4*H,I+H) row by row with the gates i,f,g,o, the sum of the biases (4*H),
h_0 (H) and c_0 (H); then those of the readout, (O,H) and (O).
"""

from .._checks import number
from ._json_files import json_object, positive

VERSION = "0.5.4"  # what the format's own trainer writes for one input and one output
VERSION_WITH_CHANNELS = "0.7.0"  # of more: readers of 0.5 refuse it, some would pass over in_channels and out_channels
NUMBERS = ("loudness", "gain", "input_level_dbu", "output_level_dbu")  # of the metadata


def _metadata(value, name):
    value = json_object(value, name)
    for key in NUMBERS:
        if value.get(key) is not None:
            number(value[key], f"{name}[{key!r}]")
    return value


FIELDS = {"sample_rate": positive, "metadata": _metadata}  # {name: check}


def tensor_shapes(I, H, O, num_layers):
    """(name, shape) of all tensors in the file's order."""
    for layer in range(num_layers):
        yield f"weight_l{layer}", (4 * H, (H if layer else I) + H)
        yield f"bias_l{layer}", (4 * H,)
        yield f"h0_l{layer}", (H,)
        yield f"c0_l{layer}", (H,)
    yield "weight_ho", (O, H)
    yield "bias_o", (O,)
