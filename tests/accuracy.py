"""tanh, the logistic function and exp over the whole range, in units in the last place; the limits exact, NaN kept.
test_isa.py measures every kernel set."""

import numpy as np

import bptt

WIDE_ENOUGH = np.finfo(np.longdouble).nmant > 52  # long double is what the exact values are computed in
TYPES = {"float32": (np.float32, np.uint32), "float64": (np.float64, np.uint64)}
MOST = {"float32": {"tanh": 2, "sigmoid": 2, "softmax": 4}, "float64": {"tanh": 4, "sigmoid": 4, "softmax": 6}}


def sweep(dtype):
    """Every exponent, dense where the functions bend, and what lies at the edges."""
    real, bits = TYPES[dtype]
    rng = np.random.default_rng(0)
    size = np.dtype(bits).itemsize * 8
    patterns = rng.integers(0, 2**size, 200_000, dtype=bits, endpoint=False).view(real)
    dense = rng.uniform(-110, 110, 200_000).astype(real)
    near = (rng.uniform(-1, 1, 100_000) * 10.0 ** rng.uniform(-6, 1.4, 100_000)).astype(real)
    wide = rng.uniform(-760, 760, 20_000).astype(real)
    info = np.finfo(real)
    edges = np.array([0.0, -0.0, info.tiny, -info.tiny, info.smallest_subnormal, -info.smallest_subnormal, info.max,
                      -info.max, np.inf, -np.inf, 88.7, 103.9, 709.7, 745.1], real)  # fmt: skip
    x = np.concatenate([patterns, dense, near, wide, edges, -edges])
    return x[~np.isnan(x)]


def cell_values(cell, x):
    """f(x) by a network of one unit whose pre-activation is x itself."""
    rnn = bptt.RNN(1, 1, cell=cell, bias=False, dtype=x.dtype.name)
    rnn.params = np.array([1.0, 0.0])
    y, _ = rnn.forward(x[None, :, None], tape=False)
    return y[0, :, 0]


def ulps_off(actual, exact):
    """Distance in units in the last place of the exact value."""
    unit = np.spacing(np.abs(exact).astype(actual.dtype)).astype(np.longdouble)
    return (np.abs(actual.astype(np.longdouble) - exact) / unit).astype(float)


def exact_values(cell, x):
    x = x.astype(np.longdouble)
    if cell == "tanh":
        return np.tanh(x)
    with np.errstate(over="ignore", under="ignore"):
        t = np.exp(-np.abs(x))
        return np.where(x < 0, t, np.longdouble(1)) / (1 + t)


def check(dtype):
    """Raises AssertionError where the kernel set of this process is too far off."""
    real, _ = TYPES[dtype]
    x = sweep(dtype)
    for cell in ("tanh", "sigmoid"):
        y = cell_values(cell, x)
        off = ulps_off(y, exact_values(cell, x))
        assert off.max() <= MOST[dtype][cell], (cell, dtype, off.max(), x[off.argmax()])
        assert (np.abs(y) <= 1).all()
        assert np.isnan(cell_values(cell, np.array([np.nan, 1], real))[0])
    infinite = np.array([np.inf, -np.inf], real)
    assert cell_values("tanh", infinite).tolist() == [1, -1]
    assert cell_values("sigmoid", infinite).tolist() == [1, 0]
    assert cell_values("tanh", np.array([0.0, 0.5, -0.5], real))[0] == 0
    relu = cell_values("relu", np.array([-1, 2, np.inf, -np.inf, np.nan], real))
    np.testing.assert_array_equal(relu, np.array([0, 2, np.inf, 0, np.nan], real))
    check_exp(dtype)


def check_exp(dtype):
    """Softmax of (0, x) is e^x / (1 + e^x): exp's error, and one rounding each of the sum and the quotient."""
    real, _ = TYPES[dtype]
    x = sweep(dtype)
    x = x[(x <= 0) & np.isfinite(x)]
    logits = np.stack([np.zeros_like(x), x], axis=1)
    _, p = bptt.cross_entropy(logits, np.zeros(len(x), int), reduction="sum")
    t = np.exp(x.astype(np.longdouble))
    off = ulps_off(p[:, 1], t / (1 + t))
    assert off.max() <= MOST[dtype]["softmax"], (dtype, off.max(), x[off.argmax()])
