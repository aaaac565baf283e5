"""The layout of RTNeural's JSON files.

    {"in_shape": [null, null, I], "layers": [LAYER, ...]}
    LAYER = {"type": "lstm", "activation": "tanh", "shape": [null, null, H], "weights": [K, R, b]}

The weights are those of Keras' layers: K (I,G*H) and R (H,G*H) with the gates i,f,c,o of an LSTM or z,r,h of a GRU with
reset_after as columns, b (4*H) or (2,3*H), and of a layer "dense" W (H,O) and b (O). Plug-ins such as AIDA-X read
more fields beside these two.
"""

from .._checks import integer, number
from ._json_files import fields_of, json_object, positive

GATES = {"lstm": 4, "gru": 3}


def bias_shape(cell, H):
    return (2, GATES[cell] * H) if cell == "gru" else (GATES[cell] * H,)


def _in_skip(value, name):
    skip = int(value) if isinstance(value, bool) else integer(value, name)  # plug-ins do not take true or false
    if skip not in (0, 1):
        raise ValueError(f"{name} must be 0 or 1, got {skip}")
    return skip


FIELDS = {  # {name: check}
    "in_skip": _in_skip,
    "in_gain": number,
    "out_gain": number,
    "samplerate": positive,
    "metadata": json_object,
}
TYPES = dict.fromkeys(FIELDS, (int, float)) | {"metadata": (dict,)}  # that plug-ins take


def fields_in(file):
    """The fields of a file, checked. Plug-ins pass over values of another type, such as a sample rate in quotes."""
    return fields_of({name: file[name] for name in FIELDS if type(file.get(name)) in TYPES[name]}, FIELDS)
