"""Windows over iterables of chunks: the same as over the whole array, in memory that does not grow."""

import tracemalloc
from itertools import count

import numpy as np
import pytest
from cases import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt

T, B, I, H, O = 23, 3, 2, 4, 2


def chunks(array, sizes, axis=0):
    """The array in pieces of these sizes, the last of them to the end; all in one buffer, as a reader may do it."""
    start = 0
    longest = max([*sizes, array.shape[axis]])
    buffer = np.empty([longest if i == axis else n for i, n in enumerate(array.shape)], array.dtype)
    for size in [*sizes, array.shape[axis]]:
        piece = array.take(range(start, min(start + size, array.shape[axis])), axis)
        start += piece.shape[axis]
        view = buffer.swapaxes(0, axis)[: piece.shape[axis]].swapaxes(0, axis)
        buffer[...] = 77
        view[...] = piece
        yield view
        if start == array.shape[axis]:
            return


def recorded(rnn, x, target, **options):
    """(start, stop, loss, y, state, norms, gradient) of every window."""
    windows = rnn.windows(x, target, **options)
    return [(w.start, w.stop, w.loss, w.y, w.state, w.grad_norms, rnn.grads.copy()) for w in windows]


def assert_same(ours, theirs):
    """To the bit."""
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a[:3] == b[:3]
        for u, v in zip(a[3:], b[3:], strict=True):
            np.testing.assert_array_equal(u, v)


SIZES = st.lists(st.integers(0, 9), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    k1=st.integers(1, 9),
    more=st.integers(0, 9),
    drawn=st.booleans(),
    burn_in=st.integers(0, T - 1),
    layout=st.sampled_from(["time first", "batch first", "unbatched"]),
    sizes=st.lists(SIZES | st.none(), min_size=4, max_size=4).filter(any),
    seed=st.integers(0, 99),
)
def test_any_chunks_equal_the_whole_array(k1, more, drawn, burn_in, layout, sizes, seed):
    """x, target, reset and mask in chunks of their own (None: whole), with boundaries that do not agree."""
    rng = np.random.default_rng(seed)
    rnn = bptt.RNN(I, H, O, seed=seed, batch_first=layout == "batch first")
    axes = {"time first": (T, B), "batch first": (B, T), "unbatched": (T,)}[layout]
    axis = int(layout == "batch first")
    arrays = [rng.normal(size=(*axes, I)), rng.normal(size=(*axes, O)), rng.random(axes) < 0.2, rng.random(axes) < 0.7]

    def run(x, target, reset, mask):
        truncation = bptt.ARTBP(k1, seed=seed) if drawn else bptt.TBPTT(k1, k1 + more)
        return recorded(rnn, x, target, reset=reset, mask=mask, truncation=truncation, burn_in=burn_in)

    parts = [a if s is None else chunks(a, s, axis) for a, s in zip(arrays, sizes, strict=True)]
    whole = run(*arrays)
    assert_same(run(*parts), whole)
    assert whole[0][0] == burn_in
    assert whole[-1][1] == T


@pytest.mark.parametrize("truncation", [bptt.TBPTT(5, 11), bptt.TBPTT(6)])
def test_streams_in_one_batch_equal_the_streams_alone(problem, truncation):
    """Parallel streams are rows of a batch, each with resets at times of its own."""
    p = problem(40, 4, 3, 5, 2, reset=True)
    options = {"truncation": truncation, "reduction": "sum"}
    together = recorded(p.rnn, p.x, p.dy, state=p.state, reset=p.reset, **options)
    totals = [np.zeros_like(p.rnn.grads) for _ in together]
    for b in range(4):
        row = slice(b, b + 1)
        alone = recorded(p.rnn, p.x[:, row], p.dy[:, row], state=p.state[:, row], reset=p.reset[:, row], **options)
        for total, (_, _, _, y, state, _, gradient), batch in zip(totals, alone, together, strict=True):
            total += gradient
            np.testing.assert_allclose(y, batch[3][:, row], rtol=0, atol=1e-12)
            np.testing.assert_allclose(state, batch[4][:, row], rtol=0, atol=1e-12)
    for total, window in zip(totals, together, strict=True):
        assert_close(window[-1], total, 1e-12)


@pytest.mark.parametrize("stream", [False, True])
def test_a_state_handed_on_continues_exactly(problem, stream):
    p = problem(40, 3, 2, 5, 2, reset=True)
    given = (lambda a: chunks(a, [7, 3])) if stream else lambda a: a
    options = {"truncation": bptt.TBPTT(4)}
    whole = recorded(p.rnn, p.x, p.dy, state=p.state, reset=p.reset, **options)
    first = recorded(p.rnn, given(p.x[:24]), p.dy[:24], state=p.state, reset=p.reset[:24], **options)
    second = recorded(p.rnn, given(p.x[24:]), p.dy[24:], state=first[-1][4], reset=p.reset[24:], **options)
    assert_same([(0, 0, *w[2:]) for w in first + second], [(0, 0, *w[2:]) for w in whole])


@pytest.mark.parametrize("truncation", [None, bptt.TBPTT(4, 9), bptt.ARTBP(4)])
def test_burn_in_is_a_forward_before(problem, truncation):
    """... longer than a window, and no gradient flows into it."""
    p = problem(40, 3, 2, 5, 2, reset=True)
    _, state = p.rnn.forward(p.x[:17], p.state, reset=p.reset[:17])
    again = bptt.ARTBP(4) if isinstance(truncation, bptt.ARTBP) else truncation
    after = recorded(p.rnn, p.x[17:], p.dy[17:], state=state, reset=p.reset[17:], truncation=truncation)
    burnt = recorded(p.rnn, p.x, p.dy, state=p.state, reset=p.reset, truncation=again, burn_in=17)
    assert_same(burnt, [(start + 17, stop + 17, *rest) for start, stop, *rest in after])


def test_burn_in_in_pieces(problem, monkeypatch):
    p = problem(40, 3, 2, 5, 2)
    whole = recorded(p.rnn, p.x, p.dy, truncation=bptt.TBPTT(3), burn_in=31)
    monkeypatch.setattr("bptt._windows.BURN_IN_ELEMENTS", 3 * 5 * 4)  # four steps
    assert_same(recorded(p.rnn, p.x, p.dy, truncation=bptt.TBPTT(3), burn_in=31), whole)


def test_a_stream_is_read_no_further_than_needed():
    """A window is there as soon as its steps are: what comes next may depend on it."""
    rnn = bptt.RNN(I, H, O, seed=0)
    given = []

    def live():
        for i in count():
            given.append(i)
            yield np.ones((2, B, I))

    windows = rnn.windows(live(), (np.ones((3, B, O)) for _ in count()), truncation=bptt.TBPTT(4, 9))
    for stop in (4, 8, 12):
        assert next(windows).stop == stop
        assert len(given) == stop // 2


@pytest.mark.parametrize("truncation", [bptt.TBPTT(20, 50), bptt.ARTBP(20)])
def test_memory_does_not_grow_with_the_stream(truncation):
    rnn = bptt.RNN(4, 16, 2, seed=0)

    def peak(steps):
        xs = (np.ones((100, 1, 4), np.float32) for _ in range(steps // 100))
        targets = (np.ones((30, 1, 2), np.float32) for _ in range(steps // 30))
        tracemalloc.start()
        for w in rnn.windows(xs, targets, truncation=truncation, burn_in=steps // 2):
            stop = w.stop
        assert stop == steps
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(3000)  # a longest window of ARTBP, mostly
    assert peak(120_000) < peak(12_000) + 100_000  # x alone would be 1.9 MB


def array(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


GOOD_X, GOOD_Y = [array(4, B, I)] * 3, [array(6, B, O)] * 2
TWELVE = {"truncation": bptt.TBPTT(5)}

# x, target, options, words of the error, windows that come before it
BAD = {
    "width": ([array(5, B, I), array(5, B, 9)], GOOD_Y, {}, ["chunk 1 of x", "(2,)", "(9,)"], 1),
    "batch": ([array(4, B, I), array(4, 7, I)], GOOD_Y, {}, ["chunk 1 of x", "(T, 3)", "(4, 7, 2)"], 0),
    "axes": ([array(4, B, I), array(4, I)], GOOD_Y, {}, ["chunk 1 of x", "(T, 3)", "(4, 2)"], 0),
    "dtype": ([array(5, B, I), array(5, B, I, dtype=float)], GOOD_Y, {}, ["chunk 1 of x", "float32", "float64"], 1),
    "first width": ([array(5, B, 9)], GOOD_Y, {}, ["chunk 0 of x", "I = 2", "(5, 3, 9)"], 0),
    "first axes": ([array(I)], GOOD_Y, {}, ["chunk 0 of x", "(T,I)", "(2,)"], 0),
    "first number": ([1.5], GOOD_Y, {}, ["chunk 0 of x", "(T,I)", "()"], 0),
    "no rows": ([array(5, 0, I)], GOOD_Y, {}, ["chunk 0 of x", "no empty axis", "(5, 0, 2)"], 0),
    "no chunks": ([], GOOD_Y, {}, ["x", "at least one chunk"], 0),
    "no steps": ([array(0, B, I)] * 2, GOOD_Y, {}, ["x must have more than burn_in = 0 steps", "after 0"], 0),
    "ragged": ([array(5, B, I), [[1.0], [2, 3]]], GOOD_Y, {}, ["chunk 1 of x", "real numbers"], 1),
    "target's batch": (GOOD_X, [array(5, B, O), array(5, 4, O)], {}, ["chunk 1 of target", "(T, 3)", "(5, 4, 2)"], 1),
    "target's width": (GOOD_X, [array(5, B, O), array(5, B, 9)], {}, ["chunk 1 of target", "(2,)", "(9,)"], 1),
    "target's width in all chunks": (GOOD_X, [array(12, B, 9)], {}, ["target", "(5, 3, 2)", "(5, 3, 9)"], 0),
    "whole target's batch": (GOOD_X, array(12, 4, O), {}, ["target", "(T, 3)", "(12, 4, 2)"], 0),
    "target ends": (GOOD_X, [array(11, B, O)], {}, ["target", "as many steps as x", "ended after 11", "x goes on"], 2),
    "whole target ends": (GOOD_X, array(11, B, O), {}, ["target", "ended after 11", "x goes on"], 2),
    "target goes on": (GOOD_X, [array(13, B, O)], {}, ["target", "as many steps as x", "after 12", "it goes on"], 2),
    "whole target goes on": (GOOD_X, array(13, B, O), {}, ["target", "after 12", "it goes on"], 2),
    "target goes on after whole windows": ([array(10, B, I)], GOOD_Y, {}, ["target", "after 10", "it goes on"], 2),
    "target of whole x ends": (array(12, B, I), [array(4, B, O)], {}, ["target", "ended after 4", "x goes on"], 0),
    "target of whole x goes on": (array(12, B, I), [array(8, B, O)] * 2, {}, ["target", "after 12", "it goes on"], 2),
    "mask ends": (GOOD_X, GOOD_Y, {"mask": iter([array(9, B, dtype=bool)])}, ["mask", "after 9", "x goes on"], 1),
    "mask of floats": (GOOD_X, GOOD_Y, {"mask": iter([array(9, B)])}, ["chunk 0 of mask", "booleans", "float32"], 0),
    "reset ends": (GOOD_X, GOOD_Y, {"reset": iter([array(9, B, dtype=bool)])}, ["reset", "after 9", "x goes on"], 1),
    "reset's batch": (GOOD_X, GOOD_Y, {"reset": iter([array(9, 1, dtype=bool)])}, ["chunk 0 of reset", "(9, 1)"], 0),
    "full BPTT": (GOOD_X, GOOD_Y, {"truncation": None}, ["truncation", "ARTBP", "iterable of chunks", "None"], 0),
    "state's batch": (GOOD_X, GOOD_Y, {"state": array(1, 4, H)}, ["state", "(1, 3, 4)", "(1, 4, 4)"], 0),
    "burn-in of all": (GOOD_X, GOOD_Y, {"burn_in": 12}, ["x", "more than burn_in = 12", "after 12"], 0),
    "burn-in of more": (GOOD_X, GOOD_Y, {"burn_in": 15}, ["x", "more than burn_in = 15", "after 12"], 0),
    "target ends in the burn-in": (GOOD_X, [array(3, B, O)], {"burn_in": 7}, ["target", "after 3", "x goes on"], 0),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_chunks_that_do_not_fit(name):
    """The windows before are whole; the error names the argument and the chunk."""
    x, target, options, words, good = BAD[name]
    rnn = bptt.RNN(I, H, O, seed=0)
    x, target = (iter(a) if isinstance(a, list) else a for a in (x, target))
    seen = 0
    with pytest.raises((ValueError, TypeError)) as caught:
        for _ in rnn.windows(x, target, **{**TWELVE, **options}):
            seen += 1
    for word in words:
        assert word in str(caught.value)
    assert seen == good


def test_an_error_of_the_reader_comes_through():
    def broken():
        yield array(5, B, I)
        raise OSError("disk full")

    windows = bptt.RNN(I, H, O).windows(broken(), array(10, B, O), **TWELVE)
    next(windows)
    with pytest.raises(OSError, match="disk full"):
        next(windows)
