"""What the conversions from and to other libraries share."""

import numpy as np

from ._init import zeros


def build(cls, description, state, threads):
    """The network of that description with these parameters; biases that are not there are zeros."""
    rnn = cls(**description, init=zeros, threads=threads)
    views = rnn.param_views()
    rnn.load_state_dict({name: np.zeros(view.shape) for name, view in views.items() if "bias" in name} | state)
    return rnn


def suffixes(num_layers, bidirectional):
    """How the names of parameters end: one for each layer and direction."""
    return [f"l{layer}{way}" for layer in range(num_layers) for way in ("", "_reverse")[: 1 + bidirectional]]


def regated(array, places):
    """The blocks of gates along the first axis in another order: block k is taken from places[k]."""
    return np.concatenate([np.split(array, len(places))[place] for place in places])


def refuse(target, counterparts):
    """An error for each (what the network has, whether it has it) that has no counterpart there."""
    found = [what for what, has in counterparts if has]
    if found:
        raise ValueError(f"{target} has no counterpart of {' and '.join(found)}")


def float_dtype(arrays, name):
    """The one dtype of these arrays, "float32" or "float64"."""
    dtypes = {array.dtype.name for array in arrays}
    if dtypes not in ({"float32"}, {"float64"}):
        raise TypeError(f"{name} must all be float32 or all float64, got {', '.join(sorted(dtypes))}")
    return dtypes.pop()
