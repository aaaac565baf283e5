"""Networks from the weights that Keras' layers give. Keras itself is not needed."""

from __future__ import annotations

import numpy as np

from .._checks import choice, flag, optional
from .._core import CELLS
from .._rnn import RNN
from ._common import build, float_dtype, reorder_gates, suffixes
from ._keras_layout import gate_order


def from_keras_weights(
    weights,
    cell: str,
    *,
    readout=None,
    embedding=None,
    one_hot: bool = False,
    reset_after: bool | None = None,
    batch_first: bool = True,
    threads: int | None = None,
) -> RNN:
    """A network with the weights of Keras' recurrent layers, as layer.get_weights() returns them.

    Parameters
    ----------
    weights : list of arrays, or list of such lists
        The weights of one layer, or one list for each layer. Bidirectional layers (merge_mode="concat") are recognised
        by their number of arrays.
    cell : {"lstm", "gru", "tanh", "relu", "sigmoid", "identity"}
        The cell; for a SimpleRNN its activation, with "identity" for Keras' "linear".
    readout : list of arrays, optional
        The weights of a Dense layer without activation.
    embedding : list of one array, optional
        The weights of an Embedding layer in front.
    one_hot : bool
        Whether the inputs are integers, for which keras.ops.one_hot is in front.
    reset_after : bool, optional
        Needed only for a GRU without biases; otherwise the shape of the bias tells.
    batch_first : bool
        Whether sequences are (B,T,I), as in Keras.
    threads : int, optional
        As in `bptt.RNN`.

    Returns
    -------
    bptt.RNN
        The network.

    Raises
    ------
    ValueError
        If shapes do not fit.
    TypeError
        If weights is not a list of arrays.

    Notes
    -----
    Keras has one bias where bptt has b_ih and b_hh: it becomes b_ih, and b_hh is zero. The activations of the gates
    must be Keras' defaults.
    """
    cell = choice(cell, "cell", CELLS)
    reset_after = optional(flag, reset_after, "reset_after")
    layers = _layers(weights)
    D = 2 if len(layers[0]) > 3 else 1
    size = len(layers[0]) // D  # arrays of one direction
    I, H = _first_axis("kernel", layers[0][0]), _first_axis("recurrent kernel", layers[0][1])
    reset_after = _reset_after(cell, reset_after, layers[0][2] if size == 3 else None)
    state: dict[str, np.ndarray] = {}
    for index, suffix in enumerate(suffixes(len(layers), D == 2)):
        layer, direction = divmod(index, D)
        arrays = layers[layer][direction * size : (direction + 1) * size]
        state |= _layer_direction(arrays, suffix, cell, D * H if layer else I, H, reset_after)
    description = {
        "input_size": I,
        "hidden_size": H,
        "cell": cell,
        "num_layers": len(layers),
        "bidirectional": D == 2,
        "reset_after": reset_after,
        "batch_first": batch_first,
        "one_hot": one_hot,
    }
    if embedding is not None:
        state["embedding"] = _embedding(embedding, I)
        description["num_embeddings"] = len(state["embedding"])
    if readout is not None:
        state |= _readout(readout, D * H)
        description["output_size"] = len(state["weight_ho"])
    description["bias"] = any("bias" in name for name in state)
    description["dtype"] = float_dtype(state.values(), "weights")
    return build(description, state, threads)


def _layers(weights):
    """[[array]], one list for each layer."""
    if not isinstance(weights, (list, tuple)) or not weights:
        raise TypeError(f"weights must be a list of arrays, or of one such list for each layer, got {weights!r}")
    nested = isinstance(weights[0], (list, tuple))
    layers = [[_array("weights", array) for array in layer] for layer in (weights if nested else [weights])]
    counts = {len(layer) for layer in layers}
    if counts not in ({2}, {3}, {4}, {6}):
        raise ValueError(
            "weights must be 2 arrays for each layer, 3 with a bias, and twice as many of Bidirectional layers, got "
            + ", ".join(str(len(layer)) for layer in layers)
        )
    return layers


def _array(argument, array):
    """An array_like as an array."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{argument} must be arrays without a mask, got a masked array")
    try:
        return np.asarray(array)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{argument} must be arrays, got {type(array).__name__}: {error}") from None


def _first_axis(name, array):
    if array.ndim != 2:
        raise ValueError(f"a {name} must have 2 axes, got shape {array.shape}")
    return array.shape[0]


def _reset_after(cell, given, bias):
    """reset_after as the shape of the bias tells; without a bias what was given, by default True as in Keras."""
    if cell != "gru":
        if given is not None:
            raise ValueError(f"reset_after goes with cell='gru', got cell={cell!r}")
        return True
    found = given if bias is None else bias.ndim == 2
    if given is not None and given != found:
        raise ValueError(f"reset_after must be {found}, as a bias of shape {bias.shape} says, got {given}")
    return True if found is None else found


def _layer_direction(arrays, suffix, cell, I, H, reset_after):
    """{name: array} of one layer and direction."""
    order = gate_order(cell)
    G = len(order)
    two_biases = cell == "gru" and reset_after
    shapes = [(I, G * H), (H, G * H), (2, G * H) if two_biases else (G * H,)][: len(arrays)]
    found = [array.shape for array in arrays]
    if found != shapes:
        raise ValueError(f"weights of {suffix} must have the shapes {shapes} for cell={cell!r}, got {found}")
    state = {f"weight_{to}_{suffix}": reorder_gates(a.T, order) for to, a in zip(("ih", "hh"), arrays, strict=False)}
    if len(arrays) == 3:
        biases = arrays[2] if two_biases else arrays[2:]
        state |= {f"bias_{to}_{suffix}": reorder_gates(b, order) for to, b in zip(("ih", "hh"), biases, strict=False)}
    return state


def _embedding(embedding, width):
    if not isinstance(embedding, (list, tuple)) or len(embedding) != 1:
        raise TypeError(f"embedding must be the weights of an Embedding layer, [table], got {embedding!r}")
    table = _array("embedding", embedding[0])
    if table.ndim != 2 or table.shape[1] != width or not len(table):
        raise ValueError(f"embedding's table must have shape (V, {width}), got {table.shape}")
    return table


def _readout(readout, width):
    if not isinstance(readout, (list, tuple)) or len(readout) not in (1, 2):
        raise TypeError(f"readout must be the weights of a Dense layer, [kernel] or [kernel, bias], got {readout!r}")
    kernel, *bias = (_array("readout", array) for array in readout)
    if kernel.ndim != 2 or kernel.shape[0] != width:
        raise ValueError(f"readout's kernel must have shape ({width}, O), got {kernel.shape}")
    if bias and bias[0].shape != kernel.shape[1:]:
        raise ValueError(f"readout's bias must have shape {kernel.shape[1:]}, got {bias[0].shape}")
    return {"weight_ho": kernel.T} | ({"bias_o": bias[0]} if bias else {})
