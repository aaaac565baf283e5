"""Initial values of the parameters. Every function draws one tensor from a numpy Generator.

The weights of a gated cell hold its G gates one below the other: weight_ih (G*H,in), weight_hh (G*H,H).
"""

from __future__ import annotations  # np.random, which NumPy loads when it is asked for, is not needed yet

import math
from collections.abc import Callable

import numpy as np

from ._checks import choice
from .init import identity

Initializer = Callable[[str, tuple[int, ...], "np.random.Generator"], np.ndarray]


def generator(seed) -> np.random.Generator:
    """The numpy Generator of a `seed` argument."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"seed must be an int >= 0 or a numpy Generator, got {seed!r}: {error}") from None


def zeros(name, shape, rng):
    """For networks whose parameters come from elsewhere."""
    return np.zeros(shape)


def _orthogonal(shape, rng):
    """The Q of a Gaussian matrix, signs fixed so that it is uniform over the orthogonal matrices (Mezzadri 2007).

    Where there are more rows than columns, the columns are orthonormal.
    """
    q, r = np.linalg.qr(rng.standard_normal(shape))
    return q * np.where(np.diagonal(r) < 0, -1.0, 1.0)


def _glorot_uniform(shape, rng):
    bound = math.sqrt(6 / sum(shape))  # fan in + fan out
    return rng.uniform(-bound, bound, shape)


def normal(name, shape, rng):
    """N(0, 1), as PyTorch draws the table of an nn.Embedding."""
    return rng.standard_normal(shape)


def _make_uniform(hidden_size):
    bound = 1 / math.sqrt(hidden_size)

    def uniform(name, shape, rng):
        """U(-1/sqrt(H), 1/sqrt(H)) for every tensor, as PyTorch draws them."""
        return rng.uniform(-bound, bound, shape)

    return uniform


def _make_orthogonal(hidden_size):
    uniform = _make_uniform(hidden_size)

    def orthogonal(name, shape, rng):
        """W_hh of every gate orthogonal (Saxe, McClelland, Ganguli 2014), the rest as in "uniform"."""
        if not name.startswith("weight_hh"):
            return uniform(name, shape, rng)
        rows, H = shape
        return np.concatenate([_orthogonal((H, H), rng) for gate in range(rows // H)])

    return orthogonal


def _glorot(name, shape, rng):
    """Keras' defaults: W_hh orthogonal as a whole, all gates in one matrix; other weights Glorot uniform; biases 0.

    Fan in and fan out are those of the whole matrix too: in + G*H for W_ih.
    """
    if name.startswith("bias"):
        return np.zeros(shape)
    return _orthogonal(shape, rng) if name.startswith("weight_hh") else _glorot_uniform(shape, rng)


_MAKERS = {
    "uniform": _make_uniform,
    "identity": lambda hidden_size: identity(),
    "orthogonal": _make_orthogonal,
    "glorot": lambda hidden_size: _glorot,
}


def initializer(init: str | Initializer, hidden_size: int) -> Initializer:
    """The initialiser of that name, for learned states zero and for an embedding normal, or `init` itself if it is a
    function."""
    if callable(init):
        return init
    own = {"state_h0": zeros, "state_c0": zeros, "embedding": normal}
    draw = _MAKERS[choice(init, "init", _MAKERS, "a function")](hidden_size)
    return lambda name, shape, rng: own.get(name, draw)(name, shape, rng)
