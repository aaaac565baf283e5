"""Initial values of the parameters. Every function draws one tensor from a numpy Generator."""

import math
from collections.abc import Callable

import numpy as np

Initializer = Callable[[str, tuple[int, ...], np.random.Generator], np.ndarray]


def generator(seed) -> np.random.Generator:
    """The numpy Generator that a `seed` argument means."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"seed must be an int >= 0 or a numpy Generator, got {seed!r}: {error}") from None


def zeros(name, shape, rng):
    """For networks whose parameters come from elsewhere."""
    return np.zeros(shape)


def _orthogonal(shape, rng):
    """The Q of a Gaussian matrix, signs fixed so that it is uniform over the orthogonal matrices (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal(shape))
    return q * np.where(np.diagonal(r) < 0, -1.0, 1.0)


def _glorot_uniform(shape, rng):
    bound = math.sqrt(6 / sum(shape))  # fan in + fan out
    return rng.uniform(-bound, bound, shape)


def _make_uniform(hidden_size):
    bound = 1 / math.sqrt(hidden_size)

    def uniform(name, shape, rng):
        """U(-1/sqrt(H), 1/sqrt(H)) for every tensor, as PyTorch draws them."""
        return rng.uniform(-bound, bound, shape)

    return uniform


def _make_identity(hidden_size):
    def identity(name, shape, rng):
        """IRNN (Le, Jaitly, Hinton 2015): W_hh = I, biases 0, all other weights N(0, 0.001)."""
        if name.startswith("bias"):
            return np.zeros(shape)
        return np.eye(shape[0]) if name.startswith("weight_hh") else rng.normal(0.0, 0.001, shape)

    return identity


def _make_orthogonal(hidden_size):
    uniform = _make_uniform(hidden_size)

    def orthogonal(name, shape, rng):
        """W_hh orthogonal (Saxe, McClelland, Ganguli 2014), the rest as in "uniform"."""
        return _orthogonal(shape, rng) if name.startswith("weight_hh") else uniform(name, shape, rng)

    return orthogonal


def _make_glorot(hidden_size):
    def glorot(name, shape, rng):
        """Keras' defaults: W_hh orthogonal, other weights Glorot uniform, biases 0."""
        if name.startswith("bias"):
            return np.zeros(shape)
        return _orthogonal(shape, rng) if name.startswith("weight_hh") else _glorot_uniform(shape, rng)

    return glorot


_MAKERS = {
    "uniform": _make_uniform,
    "identity": _make_identity,
    "orthogonal": _make_orthogonal,
    "glorot": _make_glorot,
}


def initializer(init: str | Initializer, hidden_size: int) -> Initializer:
    """The initialiser of that name, or `init` itself if it is a function (name, shape, rng) -> array."""
    if callable(init):
        return init
    if not isinstance(init, str) or init not in _MAKERS:
        raise ValueError(f"init must be one of {', '.join(_MAKERS)} or a function, got {init!r}")
    return _MAKERS[init](hidden_size)
