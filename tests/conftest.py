import numpy as np
import pytest

import bptt


@pytest.fixture
def rng():
    return np.random.default_rng(20)


class Problem:
    """A network and one sequence for it, all drawn from a seed."""

    def __init__(self, T, B, I, H, O=None, *, seed=0, reset=False, carry=0, **options):
        rng = np.random.default_rng((seed, T, B, H))
        options.setdefault("dtype", "float64")
        self.rnn = bptt.RNN(I, H, O, seed=rng, **options)
        dtype = self.rnn.dtype
        self.x = rng.normal(size=(T, B, I)).astype(dtype)
        self.state = rng.normal(size=(1, B, H)).astype(dtype)
        self.dy = rng.normal(size=(T, B, O or H)).astype(dtype)
        self.dstate = rng.normal(size=(1, B, H)).astype(dtype)
        self.reset = rng.random((T, B)) < 0.25 if reset else None
        self.carry = None
        if carry:  # 1: one factor per step, 2: one per step and row; some of them cut
            shape = (T, B)[:carry]
            self.carry = (rng.uniform(0.3, 1.8, shape) * (rng.random(shape) < 0.8)).astype(dtype)

    def loss(self):
        """A loss whose gradients are dy and dstate, in double."""
        y, state = self.rnn.forward(self.x, self.state, reset=self.reset, tape=False)
        return float(np.vdot(y.astype(float), self.dy) + np.vdot(state.astype(float), self.dstate))

    def gradients(self, **options):
        """{name: gradient} of everything, by the library."""
        self.rnn.zero_grad()
        y, _ = self.rnn.forward(self.x, self.state, reset=self.reset)
        dx, dstate0 = self.rnn.backward(self.dy, self.dstate, carry=self.carry, **options)
        return {**self.rnn.grad_views(), "x": dx, "state": dstate0[0], "y": y}


@pytest.fixture
def problem():
    return Problem


def assert_close(actual, expected, tolerance, name=""):
    """Largest error relative to the largest entry."""
    actual, expected = np.asarray(actual, float), np.asarray(expected, float)
    assert actual.shape == expected.shape, name
    error = np.abs(actual - expected).max()
    scale = np.abs(expected).max()
    assert error <= tolerance * max(scale, 1e-300), f"{name}: error {error:.3g} against {scale:.3g}"
