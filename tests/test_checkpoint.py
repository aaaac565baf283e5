"""Checkpoints: the same results from less memory, and how much less."""

import copy
import os
import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pytest
from cases import CELLS, DROPOUT, INPUTS, Problem, assert_close, assert_same, case_id, covering
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt


def results(p, **checkpoint):
    """Everything that must be the same to the bit, and the gradients of the parameters."""
    norms = np.empty((p.rnn.num_layers, len(p.x)), p.rnn.dtype)
    p.rnn.zero_grad()
    y, final = p.forward(**checkpoint)
    dx, dstate0 = p.rnn.backward(p.dy, p.dstate, carry=p.carry, step_clip_value=3.0, step_norms=norms)
    return [y, final, *([] if dx is None else [dx]), np.stack(dstate0), norms], p.rnn.grads.copy()


SEGMENTS = {
    "cell": CELLS,
    "T": [97, 1, 2, 1000],
    "k": [7, 1, 2, "T", "auto"],
    "dropout": DROPOUT,
    "num_layers": [2, 1, 3],
    "reset": [False, True],
    "lengths": [False, True],
    "carry": [0, 1],
    "start": ["given", "learned"],
    "inputs": INPUTS,
    "dtype": ["float64", "float32"],
}


@pytest.mark.parametrize("case", covering(SEGMENTS), ids=case_id)
def test_same_results(problem, case):
    """With dropout too: the segment that is computed again drops the same."""
    options = dict(case)
    T, k, is_double = options.pop("T"), options.pop("k"), case["dtype"] == "float64"
    p = problem(T, 2 if is_double else 5, 2, 3, 2, **options.pop("dropout"), **options.pop("inputs"), **options)
    drawn = p.rnn.dropout_state
    exact, grads = results(p)
    before = p.rnn.forward_steps
    p.rnn.dropout_state = drawn
    again, others = results(p, checkpoint=T if k == "T" else k)
    assert T < p.rnn.forward_steps - before <= 2 * T
    assert_same(again, exact)
    assert_close(others, grads, 1e-11 if is_double else 1e-4)


def test_forward_steps_without_checkpoints(problem):
    p = problem(30, 2, 3, 4, num_layers=2)
    assert p.rnn.forward_steps == 0
    p.gradients()
    assert p.rnn.forward_steps == 30
    p.forward(tape=False)
    assert p.rnn.forward_steps == 60


@settings(max_examples=30, deadline=None)
@given(T=st.integers(1, 700), k=st.integers(1, 800), B=st.integers(1, 9), H=st.integers(1, 40),
       layers=st.integers(1, 3), cell=st.sampled_from(list(CELLS)), dropout=st.booleans(), lengths=st.booleans(),
       start=st.sampled_from(["given", "learned"]))  # fmt: skip
def test_any_shape(T, k, B, H, layers, cell, dropout, lengths, start):
    p = Problem(T, B, 2, H, num_layers=layers, lengths=lengths, start=start, cell=cell, dropout=0.3 * dropout,
                recurrent_dropout=0.2 * dropout)  # fmt: skip
    drawn = p.rnn.dropout_state
    exact, grads = results(p)
    p.rnn.dropout_state = drawn
    again, others = results(p, checkpoint=k)
    assert_same(again, exact)
    assert_close(others, grads, 1e-11)


def test_threads_do_not_change_checkpointed_results(problem):
    p = problem(400, 24, 20, 48, 3, cell="lstm", num_layers=2, dtype="float32", lengths=True)
    found = []
    for threads in (1, 2, 3, 7):
        p.rnn.threads = threads
        exact, grads = results(p, checkpoint="auto")
        found.append([*exact, grads])
    for other in found[1:]:
        assert_same(other, found[0])


# ---- a budget in bytes ---------------------------------------------------------------------------------------


def tape_bytes(p, segment=0):
    """What the tape takes: all of it, or with checkpoints one state for each segment and the tape of one segment."""
    T, B, _ = p.x.shape
    states = p.states.nbytes
    gates = {"lstm": 4, "gru": 4}.get(p.rnn.cell, 0) * p.states.shape[1] * B * p.rnn.hidden_size * p.rnn.dtype.itemsize
    if not segment:
        return (T + 1) * states + T * gates
    return -(-T // segment) * states + (segment + 1) * states + segment * gates


@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru"])
def test_memory_budget(problem, cell):
    T = 300
    p = problem(T, 2, 2, 3, num_layers=2, dtype="float32", cell=cell)
    exact, grads = results(p)
    whole = tape_bytes(p)
    least = min(tape_bytes(p, k) for k in range(1, T + 1))
    for budget in (least, least + 100, (least + whole) // 2, whole - 1, whole, 10 * whole):
        before = p.rnn.forward_steps
        again, others = results(p, memory_budget=budget)
        assert_same(again, exact)
        assert_close(others, grads, 1e-5)
        assert (p.rnn.forward_steps - before == T) == (budget >= whole)  # plain where it fits
    with pytest.raises(ValueError, match=f"memory_budget must be at least {least} bytes .* got {least - 1}"):
        p.forward(memory_budget=least - 1)
    p.forward(memory_budget=1, tape=False)  # nothing is kept


def memory_kept(p, **checkpoint):
    """Bytes of the arrays that a forward of a new network leaves behind, y among them."""
    rnn = copy.copy(p.rnn)
    tracemalloc.start()
    y, _ = rnn.forward(p.x, **checkpoint)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size


@pytest.mark.parametrize("cell", ["tanh", "lstm"])
def test_the_segments_are_the_longest_that_fit(problem, cell):
    """So that the fewest checkpoints are kept, and the tape with one segment stays within the budget."""
    T = 300
    p = problem(T, 64, 2, 32, dtype="float32", cell=cell)
    plain = memory_kept(p)
    for budget in np.linspace(tape_bytes(p, 25), 0.98 * tape_bytes(p), 7).astype(int):
        longest = max(k for k in range(1, T + 1) if tape_bytes(p, k) <= budget)
        kept = memory_kept(p, memory_budget=budget)
        assert abs(kept - memory_kept(p, checkpoint=longest)) < 4096
        assert kept < plain
        assert kept < budget + (memory_kept(p, checkpoint="auto") - tape_bytes(p, 18)) * 1.2


# ---- windows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru", "reset before"])
@pytest.mark.parametrize("how", [{"checkpoint": 3}, {"checkpoint": "auto"}, {"memory_budget": "least"}], ids=str)
def test_windows(problem, cell, how):
    """TBPTT(20): the last of 56 steps after the burn-in are a shorter window, which overlaps the one before."""
    p = problem(61, 2, 3, 4, 2, num_layers=2, reset=True, cell=cell, dropout=0.3, recurrent_dropout=0.2)
    masks = p.rnn.dropout_state
    if "memory_budget" in how:  # too little for the tape of the longest windows, enough for that of others
        how = {"memory_budget": min(tape_bytes(p, k) for k in range(1, 62))}
    for truncation in (None, bptt.TBPTT(20), bptt.TBPTT(1), "artbp"):
        found = []
        for options in ({}, how):
            rule = bptt.ARTBP(12, seed=4) if truncation == "artbp" else truncation
            x = p.x if truncation is None else (p.x[t : t + 7] for t in range(0, 61, 7))
            p.rnn.dropout_state = masks
            windows = p.rnn.windows(x, p.dy, truncation=rule, reset=p.reset, state=p.state, burn_in=5, **options)
            found.append([(w.start, w.stop, w.loss, w.y, np.stack(w.state), w.grad_norms, p.rnn.grads.copy())
                          for w in windows])  # fmt: skip
        for plain, again in zip(*found, strict=True):
            for a, b in zip(plain[:-1], again[:-1], strict=True):
                np.testing.assert_array_equal(a, b)
            assert_close(again[-1], plain[-1], 1e-12)


@pytest.mark.parametrize("how", [{"checkpoint": 3}, {"checkpoint": "auto"}, {"memory_budget": 10**6}], ids=str)
def test_what_checkpoints_do_not_go_with(problem, how):
    (name,) = how
    p = problem(12, 2, 3, 4, bidirectional=True)
    kept = p.forward()[0]
    with pytest.raises(ValueError, match=f"{name} goes with bidirectional=False, got bidirectional=True"):
        p.forward(**how)
    p.rnn.backward(p.dy)  # what the forward before left is still there
    np.testing.assert_array_equal(kept, p.forward()[0])
    p = problem(12, 2, 3, 4)
    with pytest.raises(ValueError, match=rf"{name} goes with windows that do not overlap .*TBPTT\(k1=2, k2=5\)"):
        p.rnn.windows(p.x, p.dy, truncation=bptt.TBPTT(2, 5), **how)


# ---- resident memory -------------------------------------------------------------------------------------------

GROWTH = r"""
    import re
    import numpy as np
    import bptt

    T, B, H = 40_000, 16, 128
    x, dy = np.ones((T, B, 1), np.float32), np.full((T, B, 1), 1e-6, np.float32)
    rnn = bptt.RNN(1, H, 1, seed=0, threads=1)

    def peak():  # bytes
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])

    rnn.forward(x[:100], checkpoint="auto")
    rnn.backward(dy[:100], input_grad=False)  # what code and threads take
    before = peak()
    y, _ = rnn.forward(x, checkpoint="auto")
    rnn.backward(dy, input_grad=False)
    assert rnn.forward_steps == 200 + 2 * T
    print(peak() - before - y.nbytes)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif("BPTT_SANITIZE" in os.environ, reason="the sanitizer holds on to freed memory")
def test_resident_memory_of_a_long_sequence():
    """40,000 steps by "auto" take at most 3 % of the plain tape, beyond x, y and dy."""
    plain = 40_000 * 16 * 128 * 4
    command = [sys.executable, "-c", textwrap.dedent(GROWTH)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    growth = int(result.stdout)
    assert 0.005 * plain < growth <= 0.03 * plain, growth / plain  # 0.5 % are the checkpoints alone
