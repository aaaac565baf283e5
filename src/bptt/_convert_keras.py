"""Weights as Keras' layers give and take them, to networks and back. Keras itself is not needed.

A layer's weights are a kernel (I,G*H), a recurrent kernel (H,G*H) and, unless use_bias is False, a bias (G*H), of a GRU
with reset_after (2,G*H); a Bidirectional layer's are those of both directions. Blocks of gates: LSTM i,f,c,o; GRU
z,r,h.
"""

import numpy as np

from ._convert import build, float_dtype, refuse, regated, suffixes
from ._core import CELLS

PLACES = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}  # the same both ways; other cells have one block


def from_keras(cls, weights, cell, readout, reset_after, batch_first, threads):
    if cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
    layers = _layers(weights)
    D = 2 if len(layers[0]) > 3 else 1
    size = len(layers[0]) // D
    I, H = _size("kernel", layers[0][0]), _size("recurrent kernel", layers[0][1])
    reset_after = _reset_after(cell, reset_after, layers[0][2] if size == 3 else None)
    state = {}
    for place, suffix in enumerate(suffixes(len(layers), D == 2)):
        layer, side = divmod(place, D)
        arrays = layers[layer][side * size : (side + 1) * size]
        state |= _side(arrays, f"weights of {suffix}", suffix, cell, D * H if layer else I, H, reset_after)
    description = {
        "input_size": I,
        "hidden_size": H,
        "cell": cell,
        "num_layers": len(layers),
        "bidirectional": D == 2,
        "reset_after": reset_after,
        "batch_first": batch_first,
    }
    if readout is not None:
        state |= _readout(readout, D * H)
        description["output_size"] = len(state["weight_ho"])
    description["bias"] = any("bias" in name for name in state)
    description["dtype"] = float_dtype(state.values(), "weights")
    return build(cls, description, state, threads)


def _layers(weights):
    """[[array]], one list for each layer."""
    if not isinstance(weights, (list, tuple)) or not weights:
        raise TypeError(f"weights must be a list of arrays, or of one such list for each layer, got {weights!r}")
    nested = isinstance(weights[0], (list, tuple))
    layers = [[np.asarray(array) for array in layer] for layer in (weights if nested else [weights])]
    counts = {len(layer) for layer in layers}
    if counts not in ({2}, {3}, {4}, {6}):
        raise ValueError(
            "weights must be 2 arrays for each layer, 3 with a bias, and twice as many of Bidirectional layers, got "
            + ", ".join(str(len(layer)) for layer in layers)
        )
    return layers


def _size(what, array):
    if array.ndim != 2:
        raise ValueError(f"a {what} must have 2 axes, got shape {array.shape}")
    return array.shape[0]


def _reset_after(cell, given, bias):
    """Which GRU it is: the bias says so; without one it is Keras' default."""
    if cell != "gru":
        if given is not None:
            raise ValueError(f"reset_after goes with cell='gru', got cell={cell!r}")
        return True
    found = given if bias is None else bias.ndim == 2
    if given is not None and given != found:
        raise ValueError(f"reset_after must be {found}, as a bias of shape {bias.shape} says, got {given}")
    return True if found is None else found


def _side(arrays, where, suffix, cell, I, H, reset_after):
    """The parameters of one direction of a layer."""
    places = PLACES.get(cell, (0,))
    G = len(places)
    double = cell == "gru" and reset_after
    shapes = [(I, G * H), (H, G * H), (2, G * H) if double else (G * H,)][: len(arrays)]
    found = [array.shape for array in arrays]
    if found != shapes:
        raise ValueError(f"{where} must have the shapes {shapes} for cell={cell!r}, got {found}")
    state = {f"weight_{kind}_{suffix}": regated(a.T, places) for kind, a in zip(("ih", "hh"), arrays, strict=False)}
    if len(arrays) == 3:
        biases = arrays[2] if double else arrays[2:]
        state |= {f"bias_{kind}_{suffix}": regated(b, places) for kind, b in zip(("ih", "hh"), biases, strict=False)}
    return state


def _readout(readout, width):
    if not isinstance(readout, (list, tuple)) or len(readout) not in (1, 2):
        raise TypeError(f"readout must be the weights of a Dense layer, [kernel] or [kernel, bias], got {readout!r}")
    kernel, *bias = map(np.asarray, readout)
    if kernel.ndim != 2 or kernel.shape[0] != width:
        raise ValueError(f"readout's kernel must have shape ({width}, O), got {kernel.shape}")
    if bias and bias[0].shape != kernel.shape[1:]:
        raise ValueError(f"readout's bias must have shape {kernel.shape[1:]}, got {bias[0].shape}")
    return {"weight_ho": kernel.T} | ({"bias_o": bias[0]} if bias else {})


def to_keras(rnn):
    refuse("Keras", [("peepholes=True", rnn.peepholes), ("learn_state=True", rnn.learn_state)])
    state, places = rnn.state_dict(), PLACES.get(rnn.cell, (0,))
    D, layers = 1 + rnn.bidirectional, []
    for place, suffix in enumerate(suffixes(rnn.num_layers, rnn.bidirectional)):
        arrays = [regated(state[f"weight_{kind}_{suffix}"], places).T for kind in ("ih", "hh")]
        if rnn.bias:
            both = np.stack([regated(state[f"bias_{kind}_{suffix}"], places) for kind in ("ih", "hh")])
            arrays.append(both if rnn.cell == "gru" and rnn.reset_after else both.sum(0))
        if place % D:
            layers[-1] += arrays
        else:
            layers.append(arrays)
    readout = [state["weight_ho"].T, *([state["bias_o"]] if rnn.bias else [])] if rnn.output_size else None
    return layers, readout
