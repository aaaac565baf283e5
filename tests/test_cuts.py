"""What a reset, a carry of 0 or the end of a row cuts off: NaN and Inf there change nothing on the other side, to the
bit."""

import numpy as np
import pytest
from cases import CELLS, DROPOUT, case_id, covering

NETWORKS = {
    "cell": CELLS,
    "wrong": [np.nan, np.inf, -np.inf],
    "dtype": ["float32", "float64"],
    "num_layers": [1, 2],
    "bidirectional": [False, True],
    "start": ["given", "learned"],
    "dropouts": DROPOUT,
    "lengths": [False, True],
    "checkpoint": [None, 3],
    "threads": [1, 3],
    "O": [None, 3],
    "H": [1, 3, 16, 17, 20, 33],  # tail columns, part of a vector, whole vectors
    "B": [1, 5, 20],
}
T = 7


class Cut:
    """A problem whose rows end at `ends`, and steps that lie before, after and beyond a cut in half of the rows.

    rows : (B,) of bool, those with a cut; at : (B,), the first step after it
    """

    def __init__(self, make, case):
        case = dict(case)
        self.wrong, self.checkpoint = case.pop("wrong"), case.pop("checkpoint")
        B = case.pop("B")
        self.p = make(T, B, 4, case.pop("H"), case.pop("O"), reset=True, **case.pop("dropouts"), **case)
        if self.p.rnn.bidirectional:
            self.checkpoint = None
        rng = np.random.default_rng(1)
        self.ends = np.full(B, T) if self.p.lengths is None else self.p.lengths
        self.rows = (rng.random(B) < 0.5) & (self.ends > 1)
        self.rows[self.ends.argmax()] = True
        self.at = rng.integers(1, np.maximum(self.ends, 2))
        steps = np.arange(T)[:, None]
        self.before, self.after = (steps < self.at) & self.rows, (steps >= self.at) & self.rows
        self.beyond = steps >= self.ends

    def gradients(self, **options):
        self.p.rnn.dropout_state = 3, 0
        return self.p.copied_gradients(forward_options={"checkpoint": self.checkpoint}, **options)

    def spoil(self, array, where):
        array[where] = self.wrong
        array[self.beyond] = np.nan


def same(name, actual, expected, where=...):
    np.testing.assert_array_equal(actual[name][where], expected[name][where], name)


@pytest.fixture(params=covering(NETWORKS), ids=case_id)
def cut(problem, request):
    return Cut(problem, request.param)


def test_forward_through_a_reset(cut):
    p, one_direction = cut.p, not cut.p.rnn.bidirectional
    p.reset[cut.at[cut.rows], np.flatnonzero(cut.rows)] = True
    clean = cut.gradients()
    cut.spoil(p.x, cut.before)
    if one_direction and p.states is not None:
        p.states[:, :, cut.rows] = cut.wrong
    spoilt = cut.gradients()
    for name in ("y", "x"):
        same(name, spoilt, clean, ~cut.before)
    assert np.isfinite(spoilt["y"][~cut.before]).all()


def test_backward_through_a_reset(cut):
    p = cut.p
    p.reset[cut.at[cut.rows], np.flatnonzero(cut.rows)] = True
    check_backward(cut)


def test_backward_through_a_carry_of_zero(cut):
    cut.p.carry = np.ones((T, len(cut.rows)), cut.p.rnn.dtype)
    cut.p.carry[cut.at[cut.rows] - 1, np.flatnonzero(cut.rows)] = 0
    check_backward(cut)


def check_backward(cut):
    p, one_direction = cut.p, not cut.p.rnn.bidirectional
    clean = cut.gradients()
    cut.spoil(p.dy, cut.after)
    if one_direction:
        p.dstates[:, :, cut.rows] = cut.wrong
    spoilt = cut.gradients()
    same("x", spoilt, clean, ~cut.after)
    assert np.isfinite(spoilt["x"][~cut.after]).all()
    if one_direction:
        same("state", spoilt, clean)


def test_a_step_between_two_resets(cut):
    """Its NaN reaches the gradients of W_ih and of the biases, but neither those of W_hh, which saw a state of zeros
    there, nor those of the peepholes of i and f."""
    p, rows = cut.p, np.flatnonzero(cut.rows)
    at = cut.at[rows] - p.rnn.bidirectional  # not the last step, where the reverse direction has its initial state
    step = np.zeros_like(cut.before)
    step[at, rows] = True
    for t, row in zip(at, rows, strict=True):
        p.reset[t : t + 2, row] = True
    p.dstates[:, :, rows] = 0  # of those whose step is the last one
    p.dy[step] = 0
    clean = cut.gradients()
    cut.spoil(p.dy, step)
    spoilt = cut.gradients()
    assert not np.isfinite(spoilt["weight_ih_l0"]).all()
    for name in clean:
        if name.startswith("weight_hh"):
            same(name, spoilt, clean)
        if name.startswith("weight_peephole"):
            same(name, spoilt, clean, slice(2))
    same("x", spoilt, clean, ~step)
