import signal

import numpy as np
import pytest
import reference

import bptt

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs, but tests send it


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.fixture(scope="session")
def torch():
    """On one thread: its pool spins between small operations, which takes minutes where others run beside."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch


class Problem:
    """A network and one sequence for it, all drawn from a seed. States are (parts,L*D,B,H): h, for an LSTM also c."""

    def __init__(self, T, B, I, H, O=None, *, seed=0, reset=False, carry=0, lengths=False, state=True, **options):
        rng = np.random.default_rng((seed, T, B, H))
        options.setdefault("dtype", "float64")
        self.rnn = bptt.RNN(I, H, O, seed=rng, **options)
        dtype = self.rnn.dtype
        for name, view in self.rnn.param_views().items():
            if name.startswith("state"):  # which begin as zeros
                view[...] = rng.uniform(-0.5, 0.5, view.shape)
        directions = 2 if self.rnn.bidirectional else 1
        parts = 2 if self.rnn.cell == "lstm" else 1
        shape = (parts, self.rnn.num_layers * directions, B, H)
        self.x = rng.normal(size=(T, B, I)).astype(dtype)
        self.states = rng.normal(size=shape).astype(dtype)
        self.dy = rng.normal(size=(T, B, O or directions * H)).astype(dtype)
        self.dstates = rng.normal(size=shape).astype(dtype)
        self.state, self.dstate = self.given(self.states), self.given(self.dstates)
        if not state:
            self.state = self.states = None
        self.reset = rng.random((T, B)) < 0.25 if reset else None
        self.carry = self.lengths = None
        if carry:  # 1: one factor per step, 2: one per step and row; some of them cut
            shape = (T, B)[:carry]
            self.carry = (rng.uniform(0.3, 1.8, shape) * (rng.random(shape) < 0.8)).astype(dtype)
        if lengths:  # in any order, one of them T
            self.lengths = rng.integers(1, T + 1, B)
            self.lengths[rng.integers(B)] = T

    @staticmethod
    def given(states):
        """A state as the library takes it, views."""
        return states[0] if len(states) == 1 else (states[0], states[1])

    def forward(self, **options):
        """(y, final state as (parts,L*D,B,H))."""
        y, state = self.rnn.forward(self.x, self.state, lengths=self.lengths, reset=self.reset, **options)
        return y, np.stack(state) if isinstance(state, tuple) else state[None]

    def loss(self, tape=False):
        """A loss whose gradients are dy and dstates, in double."""
        y, states = self.forward(tape=tape)
        return float(np.vdot(y.astype(float), self.dy) + np.vdot(states.astype(float), self.dstates))

    def gradients(self, forward_options=None, **options):
        """{name: gradient} of everything, by the library; "state" is (L*D,B,H), "cell" that of an LSTM's c."""
        self.rnn.zero_grad()
        y, _ = self.forward(**forward_options or {})
        dx, dstate0 = self.rnn.backward(self.dy, self.dstate, carry=self.carry, **options)
        return {**self.rnn.grad_views(), "x": dx, **by_part(dstate0), "y": y}

    def oracle(self, dot=np.dot, **options):
        """The same by the naive oracle, and "norms"."""
        oracle = reference.Oracle(self.rnn, dot)
        states, carry = (None if a is None else a.astype(float) for a in (self.states, self.carry))
        y, _ = oracle.forward(self.x.astype(float), states, self.lengths, self.reset)
        g = oracle.backward(self.dy.astype(float), self.dstates.astype(float), carry, **options)
        return {**g, **by_part(self.given(g["state"])), "y": y}


def by_part(state):
    return {"state": state[0], "cell": state[1]} if isinstance(state, tuple) else {"state": state}


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
