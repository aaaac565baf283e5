"""What the conversions from and to other libraries share."""

import numpy as np

from .._init import zeros
from .._rnn import RNN


def build(description, state, threads):
    """The network of that description with these parameters; biases that the state lacks are zeros."""
    rnn = RNN(**description, init=zeros, threads=threads)
    views = rnn.param_views()
    rnn.load_state_dict({name: np.zeros(view.shape) for name, view in views.items() if "bias" in name} | state)
    return rnn


def suffixes(num_layers, bidirectional):
    """The ends of the parameters' names, one for each layer and direction: l0, l0_reverse, l1, ..."""
    return [f"l{layer}{end}" for layer in range(num_layers) for end in ("", "_reverse")[: 1 + bidirectional]]


def reorder_gates(array, order, blocks=None):
    """The blocks of gates along the first axis in another order: block k of the result is block order[k]. Where some
    are left out, `blocks` says how many the array has."""
    parts = np.split(array, blocks or len(order))
    return np.concatenate([parts[block] for block in order])


def check_finite(arrays):
    """Raise a ValueError unless all numbers of {name: array} are finite in float32, as readers of text hold them."""
    for name, array in arrays.items():
        with np.errstate(over="ignore", under="ignore"):
            places = np.argwhere(~np.isfinite(array.astype(np.float32)))
        if len(places):
            place = places[0].tolist()
            value = array[tuple(place)]
            raise ValueError(f"the parameters of rnn must be finite in float32, got {value} in {name} at {place}")


def refuse(target, features):
    """Raise a ValueError if the network has features that the target lacks, from pairs (feature, has it)."""
    found = [feature for feature, present in features if present]
    if found:
        raise ValueError(f"{target} has no counterpart of {' and '.join(found)}")


def leak(rnn):
    """The network's leak as such a pair."""
    return "learn_leak=True" if rnn.learn_leak else f"leak={rnn.leak}", rnn.leak < 1


def float_dtype(arrays, name):
    """The one dtype of these arrays, "float32" or "float64"."""
    dtypes = {array.dtype.name for array in arrays}
    if dtypes not in ({"float32"}, {"float64"}):
        raise TypeError(f"{name} must all be float32 or all float64, got {', '.join(sorted(dtypes))}")
    return dtypes.pop()
