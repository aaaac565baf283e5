"""Networks from RTNeural's JSON files. RTNeural itself is not needed."""

from __future__ import annotations

import reprlib

from .._checks import flag
from .._spec import CHECKS_BY_NAME
from ._from_keras_weights import from_keras_weights
from ._json_files import array, entry, read_object, size
from ._rtneural_layout import GATES, bias_shape, fields_in

READOUTS = ("dense", "time-distributed-dense")


def from_rtneural(
    path, *, with_fields: bool = False, batch_first: bool = False, dtype: str = "float32", threads: int | None = None
):
    """The network of an RTNeural JSON file: layers "lstm" or "gru" of one size, then at most one layer "dense".

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    with_fields : bool
        Whether to give the fields of plug-ins, too: those keyword arguments of `to_rtneural` that the file
        has, of the type that plug-ins take.
    batch_first, dtype, threads
        As in `bptt.RNN`: the file tells none of them. Numbers are rounded to dtype.

    Returns
    -------
    rnn : bptt.RNN
        The network.
    fields : dict
        Only with with_fields=True.

    Raises
    ------
    ValueError
        If the file is not such a file, or if it has something that a network here does not: other layers,
        layers of different sizes, an activation behind the readout; the message names the file and the layer. Without
        with_fields also if the file has in_skip=1 or gains other than 0 dB: the sound is then not that of the network
        alone.
    TypeError
        If an argument has another type.
    OSError
        If the file cannot be read.

    Notes
    -----
    The one bias of an LSTM becomes b_ih, and b_hh is zero.
    """
    with_fields, dtype = flag(with_fields, "with_fields"), CHECKS_BY_NAME["dtype"](dtype, "dtype")
    file = read_object(path, "an RTNeural JSON file")
    try:
        fields = fields_in(file)
        if not with_fields:
            _refuse_sound(fields)
        cell, weights, readout = _layers(file, dtype)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    rnn = from_keras_weights(weights, cell, readout=readout, batch_first=batch_first, threads=threads)
    return (rnn, fields) if with_fields else rnn


def _refuse_sound(fields):
    """Refuse fields that make the sound another than the network's outputs."""
    for name in ("in_skip", "in_gain", "out_gain"):
        if fields.get(name):
            raise ValueError(
                f"{name} is {fields[name]}: the sound is not the network's alone; with_fields=True gives both"
            )


def _layers(file, dtype):
    """(the cell, the weights of its layers, those of the readout or None), as Keras has them."""
    width = _last(entry(file, "in_shape", list, "the file"), "in_shape")
    cell, weights, readout = None, [], None
    for index, layer in enumerate(entry(file, "layers", list, "the file")):
        if type(layer) is not dict:
            raise ValueError(f"layer {index} must be an object, got {reprlib.repr(layer)}")
        kind = entry(layer, "type", str, f"layer {index}")
        where = f"layer {index} ({kind[:40]})"
        if readout is not None:
            raise ValueError(f"{where}: nothing may follow the dense layer")
        if kind in GATES:
            if cell not in (None, kind):
                raise ValueError(f"{where}: all recurrent layers must be of one type, got {cell} before it")
            if weights and len(weights[0][1]) != _size(layer, where):
                raise ValueError(
                    f"{where}: all recurrent layers must have one size, got {len(weights[0][1])} before it"
                )
            cell = kind
            weights.append(_recurrent(layer, kind, width, dtype, where))
        elif kind in READOUTS and weights:
            readout = _dense(layer, width, dtype, where)
        elif kind in READOUTS:
            raise ValueError(f"{where}: a dense layer must follow the recurrent ones")
        else:
            raise ValueError(f"{where}: only layers of the types lstm, gru and dense are supported")
        width = _size(layer, where)
    if cell is None:
        raise ValueError("layers must have an lstm or gru")
    return cell, weights, readout


def _recurrent(layer, cell, width, dtype, where):
    _check_activation(layer, ("", "tanh"), where)
    H = _size(layer, where)
    G = GATES[cell]
    return _arrays(layer, [(width, G * H), (H, G * H), bias_shape(cell, H)], 3, dtype, where)


def _dense(layer, width, dtype, where):
    _check_activation(layer, ("",), where)
    O = _size(layer, where)
    return _arrays(layer, [(width, O), (O,)], 1, dtype, where)


def _check_activation(layer, allowed, where):
    activation = layer.get("activation", "")
    if activation not in allowed:
        names = " or ".join(f'"{name}"' for name in allowed)
        raise ValueError(f"{where}: activation must be {names}, got {reprlib.repr(activation)}")


def _size(layer, where):
    """How many outputs a layer has."""
    return _last(entry(layer, "shape", list, where), f"{where}: shape")


def _last(shape, where):
    """The last size of a shape [batch, time, size]; the others do not matter."""
    if not 1 <= len(shape) <= 3:
        raise ValueError(f"{where} must have at most 3 axes, got {reprlib.repr(shape)}")
    return size(shape[-1], f"{where}[{len(shape) - 1}]")


def _arrays(layer, shapes, least, dtype, where):
    """A layer's arrays, at least so many."""
    values = entry(layer, "weights", list, where)
    if not least <= len(values) <= len(shapes):
        raise ValueError(f"{where}: weights must be {len(shapes)} arrays, got {len(values)}")
    return [
        array(value, shape, dtype, f"{where}: weights[{index}]")
        for index, (value, shape) in enumerate(zip(values, shapes, strict=False))
    ]
