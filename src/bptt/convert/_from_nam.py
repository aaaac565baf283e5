"""Networks from .nam files. Neural Amp Modeler itself is not needed."""

from __future__ import annotations

import math
import re
import reprlib

import numpy as np

from .._checks import flag
from .._spec import CHECKS_BY_NAME, Spec
from ._common import build
from ._json_files import array, entry, fields_of, read_object, size
from ._nam_layout import FIELDS, tensor_shapes

VERSIONS = re.compile(r"0\.[5-7]\.\d+")


def from_nam(
    path, *, with_fields: bool = False, batch_first: bool = False, dtype: str = "float32", threads: int | None = None
):
    """The network of a .nam file with the architecture LSTM.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    with_fields : bool
        Whether to give sample_rate and metadata, too, where the file has them.
    batch_first, dtype, threads
        As in `bptt.RNN`: the file tells none of them. Numbers are rounded to dtype.

    Returns
    -------
    rnn : bptt.RNN
        The network. It has a learned state where the file has an initial state that is not zero.
    fields : dict
        Only with with_fields=True: keyword arguments of `to_nam`.

    Raises
    ------
    ValueError
        If the file is not such a file, is of another architecture or of a version that is not known here, or has inputs
        that no channel leads to; the message names the file.
    TypeError
        If an argument has another type.
    OSError
        If the file cannot be read.

    Notes
    -----
    The one bias of a layer becomes b_ih, and b_hh is zero.
    """
    options = {"batch_first": flag(batch_first, "batch_first"), "dtype": CHECKS_BY_NAME["dtype"](dtype, "dtype")}
    with_fields = flag(with_fields, "with_fields")
    file = read_object(path, "a .nam file")
    try:
        fields = fields_of(file, FIELDS)
        description = _description(file) | options
        state = _state(_tensors(file, description), description["num_layers"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    initial = {name: state.pop(name) for name in ("state_h0", "state_c0")}
    learn_state = any(array.any() for array in initial.values())
    rnn = build(description | {"learn_state": learn_state}, state | (initial if learn_state else {}), threads)
    return (rnn, fields) if with_fields else rnn


def _description(file):
    version, architecture = (entry(file, key, str, "the file") for key in ("version", "architecture"))
    if not VERSIONS.fullmatch(version):
        raise ValueError(f"version must be 0.5 to 0.7, got {reprlib.repr(version)}")
    if architecture != "LSTM":
        raise ValueError(f"architecture must be LSTM, got {reprlib.repr(architecture)}")
    config = {"in_channels": 1, "out_channels": 1} | entry(file, "config", dict, "the file")
    names = ("input_size", "hidden_size", "num_layers", "in_channels", "out_channels")
    I, H, L, channels, O = (size(config.get(name), f"config: {name}") for name in names)
    if channels != I:
        raise ValueError(f"config: in_channels must be input_size = {I}, one for each input, got {channels}")
    return {"input_size": I, "hidden_size": H, "output_size": O, "num_layers": L, "cell": "lstm"}


def _tensors(file, description):
    """{name: array} of the tensors in the file's order; nothing is allocated before their number fits."""
    spec = Spec(**description)
    shapes = dict(tensor_shapes(spec.input_size, spec.hidden_size, spec.output_size, spec.num_layers))
    sizes = [math.prod(shape) for shape in shapes.values()]
    numbers = array(file.get("weights"), (sum(sizes),), spec.dtype, "weights")
    parts = np.split(numbers, np.cumsum(sizes[:-1]))
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def _state(tensors, L):
    """{name: array} as bptt names them, initial states among them."""
    state = {name: tensors[name] for name in ("weight_ho", "bias_o")}
    for layer in range(L):
        weight = tensors[f"weight_l{layer}"]
        H = len(weight) // 4
        state[f"weight_ih_l{layer}"], state[f"weight_hh_l{layer}"] = weight[:, :-H], weight[:, -H:]
        state[f"bias_ih_l{layer}"] = tensors[f"bias_l{layer}"]
    for name in ("h0", "c0"):
        state[f"state_{name}"] = np.stack([tensors[f"{name}_l{layer}"] for layer in range(L)])
    return state
