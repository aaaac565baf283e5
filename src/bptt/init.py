"""Initial values that take an argument, for bptt.RNN(init=...); those without one go by their names there."""

import numpy as np

from ._checks import number

__all__ = ["identity"]


def identity(scale: float = 1.0):
    """Initialise W_hh = scale * I, biases 0, an embedding N(0, 1), all other weights N(0, 0.001).

    This is the IRNN of Le, Jaitly, Hinton 2015 (arXiv 1504.00941).

    Parameters
    ----------
    scale : float
        With relu, 1 keeps states and gradients as they are. A smaller one forgets: where a unit is active, its gradient
        shrinks by the factor scale per step (the paper took 0.01 for speech).

    Returns
    -------
    function (name, shape, rng) -> array
        For bptt.RNN(init=...).

    Notes
    -----
    For cells with one recurrent matrix. The gates of an LSTM or a GRU have no identity initialisation in the
    literature, so a network of those cells raises ValueError.

    Examples
    --------
    >>> rnn = bptt.RNN(2, 100, 1, cell="relu", init=bptt.init.identity(0.9))
    """
    scale = number(scale, "scale")

    def draw(name, shape, rng):
        if name.startswith("bias"):
            return np.zeros(shape)
        if name == "embedding":
            return rng.standard_normal(shape)
        if not name.startswith("weight_hh"):
            return rng.normal(0.0, 0.001, shape)
        if shape[0] != shape[1]:
            raise ValueError(
                f"init 'identity' needs a cell with one recurrent matrix; {name} holds {shape[0] // shape[1]} of them"
            )
        return scale * np.eye(shape[0])

    return draw
