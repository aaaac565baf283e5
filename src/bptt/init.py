"""Initial values that take an argument, for bptt.RNN(init=...); those without one go by their names there."""

import math

import numpy as np

from ._checks import flag, index, number

__all__ = ["dale", "dale_signs", "identity"]


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


def dale_signs(hidden_size: int, excitatory: float = 0.8) -> np.ndarray:
    """Give each unit one sign (Dale's law), for bptt.Constraints(signs=...).

    Parameters
    ----------
    hidden_size : int
        H.
    excitatory : float
        In (0, 1): the share of units that excite, rounded to whole units; at least one unit of each kind remains.

    Returns
    -------
    numpy.ndarray of int8, (H,)
        1 for the excitatory units, which come first, -1 for the inhibitory ones.

    Examples
    --------
    >>> bptt.init.dale_signs(5).tolist()
    [1, 1, 1, 1, -1]
    """
    hidden_size, share = index(hidden_size, "hidden_size", 2), _share(excitatory)
    count = min(max(round(share * hidden_size), 1), hidden_size - 1)
    return np.where(np.arange(hidden_size) < count, 1, -1).astype(np.int8)


def dale(excitatory: float = 0.8, spectral_radius: float = 1.0, *, self_connections: bool = False):
    """Initialise W_hh with excitatory and inhibitory units in balance.

    Each column has the sign of dale_signs. Sizes are gamma distributed with shape 2 (Song, Yang, Wang 2016). In each
    row the inhibitory weights are scaled so that the row sums to zero: then no eigenvalue lies far outside the others
    (Rajan & Abbott 2006). The whole is scaled to the spectral radius.

    Parameters
    ----------
    excitatory : float
        As in dale_signs.
    spectral_radius : float
        Above 0: the largest absolute value of an eigenvalue of W_hh.
    self_connections : bool
        Whether the diagonal is drawn too; otherwise it is zero.

    Returns
    -------
    function (name, shape, rng) -> array
        For bptt.RNN(init=...). Biases are 0, an embedding is N(0, 1), other weights are U(-1/sqrt(n), 1/sqrt(n)) with n
        columns.

    Notes
    -----
    For cells with one recurrent matrix of at least 3 units: others raise ValueError. The signs stay while the network
    is trained only under bptt.Constraints.

    Examples
    --------
    >>> init = bptt.init.dale(0.8, 1.2)
    >>> rnn = bptt.RNN(2, 100, 1, cell="relu", leak=0.2, init=init, seed=0)
    >>> bool(abs(rnn.param_views()["weight_hh_l0"].sum(axis=1)).max() < 1e-5)
    True
    """
    share, radius = _share(excitatory), number(spectral_radius, "spectral_radius", 0)
    self_connections = flag(self_connections, "self_connections")
    if radius == 0:
        raise ValueError(f"spectral_radius must be above 0, got {spectral_radius!r}")

    def draw(name, shape, rng):
        if name.startswith(("bias", "state")):
            return np.zeros(shape)
        if name == "embedding":
            return rng.standard_normal(shape)
        if not name.startswith("weight_hh"):
            bound = 1 / math.sqrt(shape[-1])
            return rng.uniform(-bound, bound, shape)
        if shape[0] != shape[1] or shape[0] < 3:
            raise ValueError(f"init 'dale' needs one recurrent matrix of at least 3 units, got {name} of shape {shape}")
        return _balanced(shape[0], dale_signs(shape[0], share), self_connections, rng) * radius

    return draw


def _balanced(H, signs, self_connections, rng):
    """(H,H) with columns of these signs, rows that sum to zero, and spectral radius 1."""
    sizes = rng.gamma(2.0, 1.0, (H, H))
    if not self_connections:
        np.fill_diagonal(sizes, 0)
    excite, inhibit = sizes * (signs > 0), sizes * (signs < 0)
    sums = excite.sum(axis=1, keepdims=True), inhibit.sum(axis=1, keepdims=True)
    ratio = np.divide(*sums, out=np.zeros((H, 1)), where=sums[1] > 0)
    weights = np.where((ratio > 0) & (sums[0] > 0), excite - inhibit * ratio, 0.0)
    return weights / np.abs(np.linalg.eigvals(weights)).max()


def _share(value):
    share = number(value, "excitatory")
    if not 0 < share < 1:
        raise ValueError(f"excitatory must be in (0, 1), got {value!r}")
    return share
