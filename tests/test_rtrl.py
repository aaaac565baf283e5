"""RTRL and SnAp-1: learning at every step, forward in time."""

import copy
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import reference
from cases import CELLS, INPUTS, STARTS, assert_close, case_id, covering

import bptt
from bptt import _memory

PROBLEMS = {
    "cell": CELLS,
    "sizes": [(3, 4, 5, 2), (1, 1, 1, None), (2, 6, 9, None), (1, 3, 17, 1)],  # B, I, H, O
    "T": [60, 1, 8, 9, 33],  # a tape holds 8 steps or more
    "inputs": INPUTS,
    "start": STARTS,
    "bias": [True, False],
    "noise": [0.0, 0.3],
}
SNAP = {**PROBLEMS, "cell": [cell for cell in CELLS if cell != "reset before"]}
DRAWN = (11, 3)  # dropout_state of a sequence whose noise is to be drawn again


def problem_of(problem, case, **more):
    options = {**case, **more}
    B, I, H, O = options.pop("sizes")
    return problem(options.pop("T"), B, I, H, O, **options.pop("inputs"), **options)


def with_state(learner, p):
    if p.state is not None:
        learner.state = p.state
    return learner


def learned(p, learner, resets=None):
    """(outputs, gradients) of a learner that goes over the problem; resets: (T,B) of bool."""
    p.rnn.dropout_state = DRAWN
    p.rnn.zero_grad()
    outputs = []
    for t, (x, dy) in enumerate(zip(p.x, p.dy, strict=True)):
        if resets is not None and resets[t].any():
            learner.reset(rows=resets[t])
        outputs.append(learner(x))
        learner.backward(dy)
    return np.array(outputs), p.rnn.grads.copy()


def by_bptt(p, **options):
    """The same by BPTT; options of forward."""
    p.rnn.dropout_state = DRAWN
    y, _ = p.forward(**options)
    p.rnn.zero_grad()
    p.rnn.backward(p.dy)
    return y, p.rnn.grads.copy()


def by_sequences(p, resets):
    """The same by BPTT, row by row, each sequence between two resets on its own; they begin from the learned state, or
    from zeros."""
    p.rnn.zero_grad()
    y = np.empty(p.dy.shape, p.rnn.dtype)
    for row in range(p.dy.shape[1]):
        begins = sorted({0, *np.flatnonzero(resets[:, row])})
        for begin, end in zip(begins, [*begins[1:], len(resets)], strict=True):
            state = None
            if begin == 0 and not resets[0, row] and p.states is not None:
                state = p.as_given(p.states[:, :, [row]])
            y[begin:end, row] = p.rnn.forward(p.x[begin:end, [row]], state)[0][:, 0]
            p.rnn.backward(p.dy[begin:end, [row]])
    return y, p.rnn.grads.copy()


# ---- RTRL is exact -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", covering(PROBLEMS), ids=case_id)
def test_rtrl_equals_bptt(problem, case):
    p = problem_of(problem, case)
    y, expected = by_bptt(p)
    outputs, grads = learned(p, with_state(bptt.RTRL(p.rnn, p.dy.shape[1]), p))
    assert_close(outputs, y, 1e-13)
    assert_close(grads, expected, 1e-12)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("cell", CELLS)
def test_rows_that_begin_anew(problem, cell, start):
    """Also two resets without a step between them, and rows that never begin anew."""
    p = problem(40, 4, 3, 5, 2, cell=cell, start=start)
    resets = np.random.default_rng(3).random((40, 4)) < 0.15
    resets[:, 3] = False
    expected = by_sequences(p, resets)
    learner = with_state(bptt.RTRL(p.rnn, 4), p)
    outputs, grads = learned(p, learner, resets)
    assert_close(outputs, expected[0], 1e-13)
    assert_close(grads, expected[1], 1e-12)
    learner.reset(rows=[1])
    learner.reset()
    if p.state is None:
        _, again = learned(p, learner, resets)
        np.testing.assert_array_equal(again, grads)


@pytest.mark.parametrize("cell", CELLS)
def test_losses_of_some_steps(problem, cell):
    """A step without backward, one with two; what a step adds does not depend on earlier backwards."""
    p = problem(30, 2, 3, 6, 2, cell=cell)
    p.dy[::3] = 0
    p.dy[5] *= 2
    _, expected = by_bptt(p)
    p.rnn.zero_grad()
    learner = with_state(bptt.RTRL(p.rnn, 2), p)
    for t in range(30):
        learner(p.x[t])
        if t == 5:
            learner.backward(p.dy[t] / 2)
            learner.backward(p.dy[t] / 2)
        elif t % 3:
            learner.backward(p.dy[t])
    assert_close(p.rnn.grads, expected, 1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("method", [bptt.RTRL, bptt.SnAp1])
def test_float32(problem, method, cell):
    if method is bptt.SnAp1 and cell == "reset before":
        pytest.skip("SnAp-1 has no such form")
    p, q = (problem(40, 3, 4, 20, 3, cell=cell, dtype=dtype) for dtype in ("float32", "float64"))
    q.rnn.params[...], q.x, q.dy, q.state = p.rnn.params, p.x, p.dy, tuple(map(np.float64, p.states))
    q.state = q.as_given(q.state)
    results = [learned(r, with_state(method(r.rnn, 3), r)) for r in (p, q)]
    for narrow, wide in zip(*results, strict=True):
        assert narrow.dtype == np.float32
        assert_close(narrow, wide, 2e-5)


# ---- noise -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_rows_that_begin_anew_have_the_noise_of_the_step(problem, cell):
    """That of a forward over the whole sequence with the same resets."""
    p = problem(40, 4, 3, 5, 2, cell=cell, start="zero", noise=0.3, reset=True)
    y, expected = by_bptt(p)
    outputs, grads = learned(p, bptt.RTRL(p.rnn, 4), p.reset)
    assert_close(outputs, y, 1e-13)
    assert_close(grads, expected, 1e-12)


@pytest.mark.parametrize("method", [bptt.RTRL, bptt.SnAp1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sequence_draws_its_noise_once(problem, method, dtype):
    """At its first step, after the learner was made, reset or given a state; as a forward with a tape draws it."""
    p = problem(6, 2, 3, 5, noise=0.5, start="zero", dtype=dtype)
    learner = method(p.rnn, 2)
    sequences = []
    for begin in (lambda: None, learner.reset, lambda: setattr(learner, "state", np.zeros((1, 2, 5)))):
        begin()
        fixed = p.rnn.dropout_state
        sequences.append([learner(x) for x in p.x])
        assert p.rnn.dropout_state == (fixed[0], fixed[1] + 1)
        p.rnn.dropout_state = fixed
        np.testing.assert_allclose(sequences[-1], p.forward()[0], rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)
    assert np.abs(np.subtract(*sequences[:2])).max() > 0.1
    assert np.abs(np.subtract(*sequences[1:])).max() > 0.1


@pytest.mark.parametrize("inputs", INPUTS[1:], ids=case_id)
def test_an_integer_out_of_range_draws_nothing(problem, inputs):
    p = problem(6, 2, 3, 5, noise=0.5, **inputs)
    learner, drawn = bptt.RTRL(p.rnn, 2), p.rnn.dropout_state
    with pytest.raises(ValueError, match="x must hold integers"):
        learner([0, 9])
    assert p.rnn.dropout_state == drawn


# ---- the naive influence matrix ------------------------------------------------------------------------------------


class Naive:
    """J of one row by its definition, from the naive cells of reference.py; with `masked` that of SnAp-1.

    The columns are the parameters without those of the readout.
    """

    def __init__(self, rnn, masked):
        self.rnn, self.masked, self.oracle = rnn, masked, reference.Oracle(rnn)
        self.tensors = [(name, shape) for name, _, shape in rnn.tensors() if name not in ("weight_ho", "bias_o")]
        self.H, self.parts = rnn.hidden_size, self.oracle.parts
        columns = sum(np.prod(shape) for _, shape in self.tensors)
        self.state = np.zeros((self.parts, self.H))
        self.J = np.zeros((self.parts * self.H, columns))
        for part, name in enumerate(("state_h0", "state_c0")[: self.parts] if rnn.learn_state else ()):
            self.state[part] = self.oracle.p[name][0]
            self.J[part * self.H : (part + 1) * self.H, self.columns(name)] = np.eye(self.H)

    def columns(self, wanted):
        begin = 0
        for name, shape in self.tensors:
            if name == wanted:
                return slice(begin, begin + np.prod(shape))
            begin += np.prod(shape)
        return slice(0, 0)

    def units(self):
        """The unit of each column; -1 for those of the embedding, which have none."""
        every = []
        for name, shape in self.tensors:
            rows = np.arange(np.prod(shape)) // (shape[1] if name.startswith(("weight_ih", "weight_hh")) else 1)
            every.append(np.full(rows.size, -1) if name == "embedding" else rows % self.H)
        return np.concatenate(every)

    def immediate(self, x, h, c, kept, w):
        """(D_t, I_t): the cell's backward from each element of the state."""
        D, I = np.zeros((len(self.J), len(self.J))), np.zeros_like(self.J)
        for i, row in enumerate(np.eye(len(self.J)).reshape(-1, self.parts, 1, self.H)):
            g = {name: np.zeros(shape) for name, shape in self.tensors}
            dc = row[1] if self.parts == 2 else np.zeros((1, self.H))
            dx, dh, dc = self.oracle.cell.back(w, self.oracle.layer_dir(g, 0), x, h, c, kept, row[0], dc)
            if "embedding" in g and self.token != self.rnn.padding_idx:
                g["embedding"][self.token] = dx[0]
            D[i] = np.concatenate([dh[0], dc[0]][: self.parts])
            I[i] = np.concatenate([g[name].ravel() for name, _ in self.tensors])
        return D, I

    def step(self, x, noise):
        """y (Y,); noise: what the pre-activations get (G*H,)"""
        self.oracle = oracle = reference.Oracle(self.rnn)  # with the parameters as they are
        self.token = x
        x = oracle.vectors(np.array([x])).reshape(1, -1)
        w = oracle.layer_dir(oracle.p, 0)
        w.b_ih = w.b_ih + noise
        h, c = self.state[:1], self.state[-1:]
        h_new, c_new, kept = oracle.cell.step(w, x, h, c)
        D, I = self.immediate(x, h, c, kept, w)
        if not self.masked:
            self.J = D @ self.J + I
        else:
            units, own = self.units(), np.arange(len(D)) % self.H
            self.J = np.where((units == own[:, None]) | (units < 0), D @ self.J + I, 0)
        self.state = np.concatenate([h_new, c_new])[: self.parts]
        self.h = h_new[0]
        return oracle.p["weight_ho"] @ self.h + oracle.p.get("bias_o", 0) if self.rnn.output_size else self.h

    def gradient(self, dy):
        """All parameters', flat."""
        p = self.oracle.p
        dh = p["weight_ho"].T @ dy if self.rnn.output_size else dy
        g = {name: np.zeros(shape) for name, _, shape in self.rnn.tensors()}
        if self.rnn.output_size:
            g["weight_ho"][...] = np.outer(dy, self.h)
            g.get("bias_o", np.zeros(len(dy)))[...] = dy
        for name, shape in self.tensors:
            g[name] += (dh @ self.J[: self.H, self.columns(name)]).reshape(shape)
        return np.concatenate([array.ravel() for array in g.values()])


def noise_of_first_layer(rnn, T, B):
    """What the pre-activations of the next T steps of B rows get, (T,B,G*H): identity cells put it out."""
    units = len(rnn.param_views()["weight_ih_l0"])
    quiet = {"cell": "identity", "dtype": rnn.dtype, "init": lambda name, shape, rng: np.zeros(shape)}
    measuring = bptt.RNN(1, units, noise=rnn.noise, **quiet)
    measuring.dropout_state = rnn.dropout_state
    return measuring.forward(np.zeros((T, B, 1)))[0]


def along_a_path(p, method, masked, change=0.1):
    """Both learn from the same steps, of which some have no backward, while the parameters change at random."""
    rng = np.random.default_rng(9)
    B = p.dy.shape[1]
    noise = noise_of_first_layer(p.rnn, *p.dy.shape[:2])
    learner, naive = method(p.rnn, B), [Naive(p.rnn, masked) for _ in range(B)]
    for t, (x, dy) in enumerate(zip(p.x, p.dy, strict=True)):
        y = learner(x)
        assert_close(y, [n.step(*row) for n, *row in zip(naive, x, noise[t], strict=True)], 1e-12, f"y at {t}")
        p.rnn.zero_grad()
        if t % 4 != 2:
            learner.backward(dy)
        else:
            dy = 0 * dy
        expected = sum(n.gradient(row) for n, row in zip(naive, dy, strict=True))
        assert_close(p.rnn.grads, expected, 1e-12, f"gradient at {t}")
        p.rnn.params += change * rng.normal(size=p.rnn.params.size) * (rng.random(p.rnn.params.size) < 0.5)


PATHS = {
    "cell": CELLS,
    "inputs": INPUTS,
    "start": ["zero", "learned"],
    "bias": [True, False],
    "O": [2, None],
    "noise": [0.0, 0.4],
}


@pytest.mark.parametrize("case", covering(PATHS), ids=case_id)
def test_rtrl_follows_the_path_that_was_taken(problem, case):
    """Each step takes the parameters as they are, and the influence that of earlier steps as they were."""
    options = dict(case)
    along_a_path(problem(20, 2, 3, 3, options.pop("O"), **options.pop("inputs"), **options), bptt.RTRL, False)


@pytest.mark.parametrize("case", covering(PATHS | {"cell": SNAP["cell"]}), ids=case_id)
def test_snap1_equals_the_masked_influence_matrix(problem, case):
    options = dict(case)
    along_a_path(problem(12, 2, 3, 4, options.pop("O"), **options.pop("inputs"), **options), bptt.SnAp1, True)


@pytest.mark.parametrize("case", covering(SNAP), ids=case_id)
def test_snap1_is_exact_where_w_hh_is_diagonal(problem, case):
    """Of gated cells the block of each gate."""
    p = problem_of(problem, case)
    for block in np.split(
        p.rnn.param_views()["weight_hh_l0"], 4 if p.rnn.cell == "lstm" else 3 if p.rnn.cell == "gru" else 1
    ):
        block *= np.eye(len(block))
    B = p.dy.shape[1]
    outputs, grads = learned(p, with_state(bptt.SnAp1(p.rnn, B), p))
    y, expected = learned(p, with_state(bptt.RTRL(p.rnn, B), p))
    assert_close(outputs, y, 1e-13)
    assert_close(grads, expected, 1e-11)


@pytest.mark.parametrize("cell", SNAP["cell"])
def test_snap1_is_biased_and_its_rows_begin_anew(problem, cell):
    p = problem(20, 3, 4, 6, 2, cell=cell, start="learned")
    learner = bptt.SnAp1(p.rnn, 3)
    _, grads = learned(p, learner)
    _, exact = learned(p, bptt.RTRL(p.rnn, 3))
    assert np.abs(grads - exact).max() > 1e-3 * np.abs(exact).max()
    resets = np.zeros((20, 3), bool)
    resets[0] = resets[7, 1] = resets[8, 1] = True
    _, expected = learned(p, learner, resets)
    first, rest = np.split(np.arange(20), [8])
    parts = []
    for rows, steps in (([0, 2], np.arange(20)), ([1], first[:7]), ([1], first[7:]), ([1], rest)):
        part = SimpleNamespace(rnn=p.rnn, x=p.x[np.ix_(steps, rows)], dy=p.dy[np.ix_(steps, rows)])
        parts.append(learned(part, bptt.SnAp1(p.rnn, len(rows)))[1])
    assert_close(expected, sum(parts), 1e-12)


@pytest.mark.parametrize("inputs", INPUTS, ids=case_id)
@pytest.mark.parametrize("cell", SNAP["cell"])
def test_snap1_does_not_depend_on_earlier_backwards(problem, cell, inputs):
    """To the bit: at no step, at some, at each, twice at some. The rows begin anew at different steps, before a step
    and after one. 19 units and 5 inputs: rows and columns that fill no vector."""
    p = problem(23, 2, 5, 19, 2, cell=cell, start="learned", dtype="float32", **inputs)

    def last_gradient(*steps):
        learner = bptt.SnAp1(p.rnn, 2)
        for t, x in enumerate(p.x):
            if t == 6:
                learner.reset(rows=[1])
            learner(x)
            for _ in range(steps.count(t)):
                learner.backward(p.dy[t])
            if t == 13:
                learner.reset(rows=[0])
        p.rnn.zero_grad()
        learner.backward(p.dy[-1])
        return p.rnn.grads.copy()

    expected = last_gradient()
    assert expected.any()
    for steps in (range(22), range(0, 22, 3), [3, 3, 9, 9, 10, 13, 21, 21], [22]):
        np.testing.assert_array_equal(last_gradient(*steps), expected)


# ---- conventions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [bptt.RTRL, bptt.SnAp1])
@pytest.mark.parametrize("inputs", INPUTS, ids=case_id)
def test_a_batch_of_one(problem, method, inputs):
    """Outputs are those of a stream up to rounding; inputs and gradients come with or without the axis of the batch."""
    p = problem(12, 1, 4, 6, 3, start="zero", dtype="float32", **inputs)
    learner, stream = method(p.rnn), p.rnn.stream()
    assert learner.batch == 1
    out = np.empty(3, np.float32)
    totals = []
    for batched in (False, True):
        learner.reset()
        stream.reset()
        p.rnn.zero_grad()
        for x, dy in zip(p.x, p.dy, strict=True):
            if batched:
                y = learner(x)
                learner.backward(dy)
            else:
                x = int(x[0]) if p.rnn.spec.vocabulary else x[0]
                y = learner(x, out=out)
                assert y is out
                learner.backward(dy[0])
            np.testing.assert_allclose(y, stream(x), rtol=0, atol=1e-6)
        totals.append(p.rnn.grads.copy())
    np.testing.assert_array_equal(*totals)
    np.testing.assert_allclose(learner.state, stream.state, atol=1e-6)
    assert learner.state.shape == (1, 1, 6)


@pytest.mark.parametrize("method", [bptt.RTRL, bptt.SnAp1])
def test_the_state_that_is_assigned_does_not_depend_on_the_parameters(problem, method):
    p = problem(12, 2, 3, 5, 2, cell="lstm", start="given over learned")
    learner = method(p.rnn, 2)
    learned(p, learner)
    learner.state = p.state
    np.testing.assert_array_equal(learner.state, p.state)
    _, again = learned(p, learner)
    _, expected = learned(p, with_state(method(p.rnn, 2), p))
    np.testing.assert_array_equal(again, expected)
    assert not p.rnn.grad_views()["state_h0"].any()
    h, c = learner.state
    h[:] = c[:] = 0  # copies
    assert np.all(np.abs(learner.state[0]).sum(axis=(0, 2)) > 0)
    kept = learner.state
    for wrong in (p.states[0], (p.states[0], p.states[1][:, :1]), None):
        with pytest.raises((ValueError, TypeError), match="state"):
            learner.state = wrong
    np.testing.assert_array_equal(learner.state, kept)


@pytest.mark.parametrize("method", [bptt.RTRL, bptt.SnAp1])
def test_backward_needs_a_step(problem, method):
    p = problem(12, 2, 3, 5, 2)
    learner = method(p.rnn, 2)
    for begin in (lambda: None, learner.reset, lambda: setattr(learner, "state", p.state)):
        learner(p.x[0])
        learner.reset()
        begin()
        with pytest.raises(RuntimeError, match="a step before it"):
            learner.backward(p.dy[0])
        assert not p.rnn.grads.any()
    learner.reset()
    learner(p.x[0])
    learner.reset(rows=[0])  # this row has no step any more, the other one has
    learner.backward(p.dy[0])
    some = p.rnn.grads.copy()
    p.rnn.zero_grad()
    learner.reset()
    learner(p.x[0])
    learner.backward(p.dy[0] * [[0], [1]])
    assert_close(some, p.rnn.grads, 1e-14)
    p.rnn.zero_grad()
    learner(p.x[1])
    learner.reset(rows=[0, 1])
    learner.backward(p.dy[1])
    assert not p.rnn.grads.any()


@pytest.mark.parametrize("method", [bptt.RTRL, bptt.SnAp1])
@pytest.mark.parametrize("cell", ["tanh", "lstm", "trained leak"])
def test_any_number_of_threads_gives_the_same_bits(problem, method, cell):
    """H = 70 is large enough for threads to share the products of the influence matrix."""
    p = problem(72, 2, 5, 70, 3, cell=cell, dtype="float32")
    results = []
    for threads in (1, 2, 3):
        p.rnn.threads = threads
        results.append(learned(p, with_state(method(p.rnn, 2), p)))
    for result in results[1:]:
        np.testing.assert_array_equal(result[0], results[0][0])
        np.testing.assert_array_equal(result[1], results[0][1])


def test_parameters_that_are_replaced_are_those_of_the_next_step(problem):
    p = problem(12, 1, 3, 5, 2)
    learner = with_state(bptt.RTRL(p.rnn), p)
    learner(p.x[0])
    before = learner.state
    p.rnn.load_state_dict({name: 2 * view for name, view in p.rnn.param_views().items()})
    expected, _ = p.rnn.forward(p.x[1:2], before)
    assert_close(learner(p.x[1]), expected[0], 1e-14)
    p.rnn.params = np.zeros(p.rnn.params.size)
    assert not learner(p.x[2]).any()


def test_gradients_are_added_and_clipped(problem):
    p = problem(3, 1, 3, 5, 2)
    learner = bptt.RTRL(p.rnn)
    learner(p.x[0])
    learner.backward(p.dy[0])
    once = p.rnn.grads.copy()
    learner.backward(p.dy[0])
    assert_close(p.rnn.grads, 2 * once, 1e-14)
    assert p.rnn.clip_grad_norm(0.1) == pytest.approx(2 * np.linalg.norm(once))
    assert np.linalg.norm(p.rnn.grads) == pytest.approx(0.1)
    dy = p.rnn.grads[:2]  # memory that backward writes
    copied = dy.copy()
    learner.backward(dy)
    mixed = p.rnn.grads.copy()
    p.rnn.zero_grad()
    learner.backward(copied)
    assert_close(mixed - p.rnn.grads, 0.1 * once / np.linalg.norm(once), 1e-12)


@pytest.mark.parametrize("method", [bptt.RTRL, bptt.SnAp1])
def test_an_integer_out_of_range_changes_nothing(problem, method):
    p = problem(20, 2, 4, 6, 3, one_hot=True)
    learner = method(p.rnn, 2)
    for x in p.x[:8]:
        learner(x)
    state = learner.state
    with pytest.raises(ValueError, match=r"x must hold integers in 0\.\.3, got 4 at \[1\]"):
        learner([0, 4])
    np.testing.assert_array_equal(learner.state, state)
    p.rnn.zero_grad()
    learner.backward(p.dy[7])
    after = p.rnn.grads.copy()
    p.rnn.zero_grad()
    other = method(p.rnn, 2)
    for x in p.x[:8]:
        other(x)
    other.backward(p.dy[7])
    np.testing.assert_array_equal(p.rnn.grads, after)


def test_nan_passes_and_a_reset_stops_it(problem):
    for method in (bptt.RTRL, bptt.SnAp1):
        p = problem(20, 2, 3, 5, 2)
        learner = method(p.rnn, 2)
        bad = p.x[0].copy()
        bad[1] = np.nan
        assert np.isnan(learner(bad)[1]).all()
        for x in p.x[1:12]:
            learner(x)
        learner.backward(p.dy[0])
        assert np.isnan(p.rnn.grads).any()
        p.rnn.zero_grad()
        learner.reset(rows=[1])
        for x, dy in zip(p.x, p.dy, strict=True):
            assert np.isfinite(learner(x)).all()
            learner.backward(dy)
        assert np.isfinite(p.rnn.grads).all()


@pytest.mark.parametrize("method", [bptt.RTRL, bptt.SnAp1])
def test_learners_are_not_copied_but_outlive_their_network(problem, method):
    learner = method(bptt.RNN(2, 3, 1, seed=0))
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=rf"a {method.__name__} cannot be pickled or copied: make a new one"):
            copied(learner)
    assert learner([1.0, 2.0]).shape == (1,)
    learner.backward([1.0])
    with pytest.raises(RuntimeError, match="__init__ was called before"):
        learner.__init__(bptt.RNN(2, 3, 1))
    with pytest.raises(RuntimeError, match="__init__ was never called"):
        method.__new__(method)([1.0, 2.0])


def test_learners_in_threads(problem):
    """Several learners of one network, each with a state of its own."""
    p = problem(40, 1, 3, 8, 2, start="zero")
    expected, _ = p.forward()
    outputs = [None] * 4

    def run(i):
        learner = (bptt.RTRL, bptt.SnAp1)[i % 2](p.rnn)
        results = []
        for x, dy in zip(p.x, p.dy, strict=True):
            results.append(learner(x))
            learner.backward(dy)
        outputs[i] = results

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in outputs:
        assert_close(result, expected, 1e-13)


def test_brief_steps_beside_other_calls(problem):
    """Steps of SnAp-1, which keep the GIL, and calls that let it go, all on one network: no gradient is lost."""
    p = problem(40, 1, 3, 8, 2, start="zero")

    def learn(method):
        learner = method(p.rnn)
        for x, dy in zip(p.x, p.dy, strict=True):
            learner(x)
            learner.backward(dy)

    def train():
        for _ in range(40):
            with p.rnn.lock:
                p.rnn.forward(p.x)
                p.rnn.backward(p.dy)

    works = [partial(learn, bptt.SnAp1)] * 2 + [partial(learn, bptt.RTRL), train]
    p.rnn.zero_grad()
    for work in works:
        work()
    expected = p.rnn.grads.copy()
    p.rnn.zero_grad()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(works)) as pool:
            for future in [pool.submit(work) for work in works]:
                future.result()
    finally:
        sys.setswitchinterval(interval)
    assert_close(p.rnn.grads, expected, 1e-12)


@pytest.mark.parametrize("method", [bptt.RTRL, bptt.SnAp1])
def test_a_step_waits_for_who_has_the_lock(problem, method):
    p = problem(2, 1, 3, 8, 2, start="zero")
    learner, alone = method(p.rnn), method(p.rnn)
    expected = alone(p.x[0])
    with ThreadPoolExecutor(1) as pool:
        for step in (partial(learner, p.x[0]), partial(learner.backward, p.dy[0])):
            with p.rnn.lock, p.rnn.lock:
                future = pool.submit(step)
                with pytest.raises(TimeoutError):
                    future.result(timeout=0.05)
            result = future.result(timeout=60)
            if result is not None:
                np.testing.assert_array_equal(result, expected)
    with p.rnn.lock:
        learner(p.x[1])
        learner.backward(p.dy[1])


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is no GIL")
@pytest.mark.parametrize(("O", "batch", "kept"), [(2, 1, True), (100_000, 1, False), (2, 200, False)])
def test_only_brief_steps_keep_the_gil(O, batch, kept):
    learner = bptt.SnAp1(bptt.RNN(3, 2, O), batch=batch)
    x = np.zeros((batch, 3), np.float32)
    y, gate, ran = learner(x), threading.Lock(), []

    def run():
        with gate:
            ran.append(True)

    interval = sys.getswitchinterval()
    for call in (partial(learner, x), partial(learner.backward, y)):
        ran.clear()
        gate.acquire()
        thread = threading.Thread(target=run)
        thread.start()
        sys.setswitchinterval(1000)  # from here on another thread runs only where the GIL is let go
        try:
            gate.release()
            for _ in range(2000):
                call()
                if ran:
                    break
            assert bool(ran) == (not kept)
        finally:
            sys.setswitchinterval(interval)
        thread.join()


def test_the_lock_of_a_network(problem):
    lock = problem(2, 1, 3, 8, 2).rnn.lock
    with ThreadPoolExecutor(1) as pool:
        with lock as taken:
            assert taken
            assert lock.acquire()
            lock.release()
            assert not pool.submit(lock.acquire, False).result()
            assert not pool.submit(lock.acquire, timeout=0.01).result()
            with pytest.raises(RuntimeError):
                pool.submit(lock.release).result()
        assert pool.submit(lock.acquire, timeout=1).result()
        assert not lock.acquire(blocking=False)
        pool.submit(lock.release).result()
    with pytest.raises(RuntimeError):
        lock.release()
    assert lock.acquire(False)
    lock.release()


# ---- memory ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "cell", "formula"), [
    (bptt.RTRL, "tanh", "B*H*P"), (bptt.RTRL, "lstm", "B*2*H*P"),
    (bptt.SnAp1, "gru", "B*P"), (bptt.SnAp1, "lstm", "B*2*P"),
])  # fmt: skip
def test_a_size_that_does_not_fit_says_what_it_needs(method, cell, formula, monkeypatch):
    rnn = bptt.RNN(3, 40, 2, cell=cell, seed=0)
    monkeypatch.setattr(_memory, "physical_memory", lambda: 10_000)
    with pytest.raises(MemoryError) as caught:
        method(rnn, 5)
    text = str(caught.value)
    columns = -(-(rnn.params.size - 82) // 16) * 16  # rounded up to a cache line
    numbers = 5 * (2 if cell == "lstm" else 1) * (40 if method is bptt.RTRL else 1) * columns
    assert text.startswith(f"{method.__name__} needs ")
    assert f"{formula} = {numbers:,} numbers of 4 bytes" in text
    assert "batch = 5, hidden_size = 40" in text
    assert text.endswith("this machine has 10,000 bytes")
    needed = int(text.split()[2].replace(",", ""))
    assert 4 * numbers < needed < 1.5e6 + 8 * numbers


def test_a_size_beyond_memory_is_an_error_before_anything_is_allocated():
    rnn = bptt.RNN(1, 600, seed=0)  # 1.4 MB of parameters, 0.9 GB of influence for each row
    with pytest.raises(MemoryError, match=r"RTRL needs \d{3},\d{3},\d{3},\d{3} bytes"):
        bptt.RTRL(rnn, 1000)
    with pytest.raises(MemoryError):
        bptt.RTRL(bptt.RNN(1, 3, seed=0), 2**50)

    class Own(bptt.SnAp1):
        """One of a user, which keeps as much."""

    with pytest.raises(MemoryError, match=r"Own needs .* B\*P and the table B\*V\*I\*H"):
        Own(bptt.RNN(2, 3, num_embeddings=9, seed=0), 2**40)


def test_memory_does_not_grow_with_time(problem):
    import tracemalloc

    p = problem(50, 1, 3, 8, 2, start="zero")
    learner = bptt.RTRL(p.rnn)
    learned(p, learner)
    tracemalloc.start()
    for _ in range(20):
        for x, dy in zip(p.x, p.dy, strict=True):
            learner(x)
            learner.backward(dy)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 20_000
