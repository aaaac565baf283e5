"""Truncated BPTT: the windows, their gradients against the definition, and their memory."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import reference
from cases import CELLS, GATED, INPUTS, assert_close, case_id, covering
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt
from bptt import _core


def scalar_rnn(h0=0.9, w=0.2):
    """h_t = w h_{t-1}: linear, one unit, no input to speak of."""
    rnn = bptt.RNN(1, 1, cell="identity", bias=False, dtype="float64")
    rnn.param_views()["weight_ih_l0"][...] = 0
    rnn.param_views()["weight_hh_l0"][...] = w
    return rnn, np.full((1, 1, 1), h0)


@pytest.mark.parametrize("T", [1, 2, 3])
def test_scalar_derivative(T):
    """d h_t / d w = t w^(t-1) h_0 = 0.9, 0.36, 0.108 (a well-known wrong code gives 0.288 for the last)."""
    rnn, h0 = scalar_rnn()
    rnn.forward(np.zeros((T, 1, 1)), h0)
    dy = np.zeros((T, 1, 1))
    dy[-1] = 1
    rnn.backward(dy)
    assert rnn.grad_views()["weight_hh_l0"][0, 0] == pytest.approx([0.9, 0.36, 0.108][T - 1], abs=1e-15)


def double_sum(rnn, x, dy, state, k1, k2):
    """g(t) = sum over s in the last k1 steps, u in the last k2 steps up to s, of dl_s/dh_s J_s..J_{u+1} d+h_u/dtheta,
    written out with explicit Jacobians for a tanh network without readout; returns one gradient per window."""
    p = rnn.param_views()
    W, U, T = p["weight_hh_l0"], p["weight_ih_l0"], len(x)
    h = [state[0, 0]]
    for t in range(T):
        h.append(np.tanh(U @ x[t, 0] + p["bias_ih_l0"] + W @ h[-1] + p["bias_hh_l0"]))
    f_grad = [None] + [1 - v**2 for v in h[1:]]
    jacobian = [None] + [f_grad[s][:, None] * W for s in range(1, T + 1)]  # dh_s / dh_{s-1}
    windows = []
    for start in range(0, T, k1):
        t = min(start + k1, T)
        g = {name: np.zeros_like(v) for name, v in p.items()}
        for s in range(start + 1, t + 1):
            row = dy[s - 1, 0]  # dl_s/dh_s J_s .. J_{u+1}
            for u in range(s, max(1, t - k2 + 1) - 1, -1):
                dz = row * f_grad[u]
                g["weight_ih_l0"] += np.outer(dz, x[u - 1, 0])
                g["weight_hh_l0"] += np.outer(dz, h[u - 1])
                g["bias_ih_l0"] += dz
                g["bias_hh_l0"] += dz
                row = row @ jacobian[u]
        windows.append(np.concatenate([v.ravel() for v in g.values()]))
    return windows


@settings(max_examples=60, deadline=None)
@given(T=st.integers(1, 23), k1=st.integers(1, 9), more=st.integers(0, 12), seed=st.integers(0, 99))
def test_windows_equal_the_double_sum(T, k1, more, seed):
    rng = np.random.default_rng(seed)
    rnn = bptt.RNN(2, 3, dtype="float64", seed=rng)
    x, dy, state = rng.normal(size=(T, 1, 2)), rng.normal(size=(T, 1, 3)), rng.normal(size=(1, 1, 3))

    expected = double_sum(rnn, x, dy, state, k1, k1 + more)
    windows = rnn.windows(x, dy, whole_loss, truncation=bptt.TBPTT(k1, k1 + more), state=state)
    y, last = rnn.forward(x, state)
    stop = 0
    for window, gradient in zip(windows, expected, strict=True):
        assert window.start == stop
        stop = window.stop
        assert_close(rnn.grads, gradient, 1e-12)
        np.testing.assert_allclose(window.y, y[window.start : window.stop], rtol=0, atol=1e-15)
        assert len(window.grad_norms) == min(k1 + more, window.stop)
    assert stop == T
    np.testing.assert_allclose(window.state, last, rtol=0, atol=1e-15)


def whole_loss(y, target):
    """Its gradient by y is `target`."""
    return float(np.vdot(y, target)), target


def flat(rnn, g):
    return np.concatenate([g[name].ravel() for name in rnn.param_views()])


WINDOWS = {
    "cell": CELLS,
    "k": [(3, 5), (1, 1), (1, 4), (5, 5), (4, 13), (2, 30), (40, 40)],
    "num_layers": [1, 2],
    "O": [2, None],
    "start": ["given", "zero", "learned"],
    "reset": [False, True],
    "inputs": INPUTS,
    "clip": [{}, {"step_clip_norm": 0.8, "step_clip_value": 0.5}],
}


@pytest.mark.parametrize("case", covering(WINDOWS), ids=case_id)
def test_windows_are_the_definition(problem, case):
    """Backward of the losses of a window's own steps, cut before the window: by the oracle over the whole sequence."""
    options = dict(case)
    (k1, k2), clip = options.pop("k"), options.pop("clip")
    p = problem(23, 2, 2, 3, **options.pop("inputs"), **options)
    oracle = reference.Oracle(p.rnn)
    y, final = oracle.forward(p.x, p.states, reset=p.reset)
    windows = p.rnn.windows(p.x, p.dy, whole_loss, truncation=bptt.TBPTT(k1, k2), state=p.state, reset=p.reset, **clip)
    for w in windows:
        back = max(0, w.stop - k2)
        dy, carry = np.zeros_like(p.dy), np.ones(23)
        dy[w.start : w.stop] = p.dy[w.start : w.stop]
        carry[max(0, back - 1)] = back == 0
        g = oracle.backward(dy, carry=carry, **clip)
        assert_close(p.rnn.grads, flat(p.rnn, g), 1e-12)
        assert_close(np.atleast_2d(w.grad_norms), g["norms"][:, back : w.stop], 1e-12)
        assert_close(w.y, y[w.start : w.stop], 1e-13)
    assert w.stop == 23
    assert_close(np.stack(w.state) if len(final) == 2 else w.state[None], final, 1e-13)


@pytest.mark.parametrize("cell", GATED)
@pytest.mark.parametrize("a", [3, np.inf])
def test_artbp_of_gated_cells(problem, cell, a):
    """Windows at the cuts sum to one backward with the factors as carry, which scales dh and dc of an LSTM."""
    p = problem(60, 3, 2, 4, 2, num_layers=2, reset=True, cell=cell)
    rule = bptt.ARTBP(8, a, seed=1)
    p.carry = rule.schedule(60)[1]
    p.dstates[:] = 0
    total = np.zeros_like(p.rnn.grads)
    windows = 0
    for _ in p.rnn.windows(p.x, p.dy, whole_loss, truncation=rule, state=p.state, reset=p.reset):
        total += p.rnn.grads
        windows += 1
    assert windows > 3
    assert_close(total, flat(p.rnn, p.oracle()), 1e-12)


LENGTHS = {
    "cell": ["lstm", "tanh", "gru"],
    "layout": ["steps first", "batch first", "unbatched"],
    "bidirectional": [False, True],
    "masked": [False, True],
}


@pytest.mark.parametrize("case", covering(LENGTHS), ids=case_id)
def test_lengths(problem, case):
    """Full BPTT over padded rows: what lies beyond the end counts nothing, in the loss and its mean neither."""
    layout, masked, bidirectional = case["layout"], case["masked"], case["bidirectional"]
    B = 1 if layout == "unbatched" else 4
    p = problem(9, B, 2, 3, 2, num_layers=2, bidirectional=bidirectional, lengths=True, reset=True, cell=case["cell"])
    if B == 1:
        p.lengths[:] = 6
    mask = np.random.default_rng(1).random((9, B)) < 0.7
    counts = (np.arange(9)[:, None] < p.lengths) & (mask | (not masked))
    y, final = p.forward()
    loss = np.mean((y - p.dy)[counts] ** 2)
    p.rnn.zero_grad()
    p.rnn.backward(2 * (y - p.dy) * counts[..., None] / (2 * counts.sum()))
    grads = p.rnn.grads.copy()
    target = np.where(counts[..., None], p.dy, 1e30)  # would show in the loss
    relaid = {
        "steps first": lambda a: a,
        "batch first": lambda a: a.swapaxes(0, 1),
        "unbatched": lambda a: a[:, 0],
    }[layout]
    options = {**p.rnn.description(), "batch_first": layout == "batch first"}
    rnn = bptt.RNN(**options)
    rnn.params = p.rnn.params
    for how in ({}, {"checkpoint": 2}):
        if how and bidirectional:
            continue
        (w,) = rnn.windows(relaid(p.x), relaid(target), state=p.state, lengths=p.lengths.tolist(),
                           reset=relaid(p.reset), mask=relaid(mask) if masked else None, **how)  # fmt: skip
        assert (w.start, w.stop) == (0, 9)
        assert w.loss == pytest.approx(loss, rel=1e-12)
        np.testing.assert_array_equal(w.y, relaid(y))
        np.testing.assert_array_equal(np.stack(w.state) if len(final) == 2 else w.state[None], final)
        assert_close(rnn.grads, grads, 1e-12)


@pytest.mark.parametrize("truncation", [bptt.TBPTT(4), bptt.TBPTT(1, 12), bptt.ARTBP(30)], ids=str)
def test_truncation_goes_with_one_direction(problem, truncation):
    """Also where a window could reach over all steps."""
    p = problem(12, 2, 3, 4, bidirectional=True)
    with pytest.raises(ValueError, match=r"truncation goes with bidirectional=False, got (TBPTT|ARTBP)\("):
        p.rnn.windows(p.x, p.dy, truncation=truncation)
    with pytest.raises(ValueError, match="burn_in goes with bidirectional=False, got 3"):
        p.rnn.windows(p.x, p.dy, burn_in=3)
    p.dstates[:] = 0
    p.gradients()
    expected = p.rnn.grads.copy()
    for whole in (None, bptt.TBPTT(12), bptt.TBPTT(20, 30)):
        (w,) = p.rnn.windows(p.x, p.dy, whole_loss, truncation=whole, state=p.state)
        assert_close(p.rnn.grads, expected, 1e-14)
        assert w.grad_norms.shape == (2, 12)


@pytest.mark.parametrize("readout", [None, 2])
@pytest.mark.parametrize("k1, k2", [(40, 40), (1, 40), (1, 99), (7, 46), (13, 53)])
def test_no_truncation_is_full_bptt(problem, readout, k1, k2):
    """k1 = k2 = T in one window, and k2 >= T + k1 summed over windows without updates."""
    p = problem(40, 3, 2, 5, readout, reset=True)
    target = p.dy
    options = {"reset": p.reset, "state": p.state, "reduction": "sum"}
    total = np.zeros_like(p.rnn.grads)
    for _ in p.rnn.windows(p.x, target, truncation=bptt.TBPTT(k1, k2), **options):
        total += p.rnn.grads
    y, _ = p.rnn.forward(p.x, p.state, reset=p.reset)
    _, dy = bptt.mse(y, target, reduction="sum")
    p.rnn.zero_grad()
    p.rnn.backward(dy)
    assert_close(total, p.rnn.grads, 1e-12)
    for _ in p.rnn.windows(p.x, target, **options):
        assert_close(p.rnn.grads, total, 1e-12)


def test_mean_is_over_the_windows_own_steps(problem):
    p = problem(10, 3, 2, 4, 2)
    y, _ = p.rnn.forward(p.x)
    mask = np.random.default_rng(0).random((10, 3)) < 0.6
    for w in p.rnn.windows(p.x, p.dy, truncation=bptt.TBPTT(4, 9)):
        assert w.loss == pytest.approx(np.mean((y - p.dy)[w.start : w.stop] ** 2), rel=1e-12)
    for w in p.rnn.windows(p.x, p.dy, truncation=bptt.TBPTT(4, 9), mask=mask):
        chosen = (y - p.dy)[w.start : w.stop][mask[w.start : w.stop]]
        assert w.loss == pytest.approx(np.mean(chosen**2), rel=1e-12)


@pytest.mark.parametrize("unbatched", [False, True])
def test_layouts_give_the_same_windows(problem, unbatched):
    B = 1 if unbatched else 4
    p = problem(15, B, 3, 5, 2, seed=5)
    q = problem(15, B, 3, 5, 2, seed=5, batch_first=not unbatched)
    swap = (lambda a: a[:, 0]) if unbatched else (lambda a: a.swapaxes(0, 1))
    truncation = bptt.TBPTT(4, 6)
    mask = np.random.default_rng(1).random((15, B)) < 0.7
    ours = p.rnn.windows(p.x, p.dy, truncation=truncation, mask=mask, reset=mask)
    theirs = q.rnn.windows(swap(p.x), swap(p.dy), truncation=truncation, mask=swap(mask), reset=swap(mask))
    for a, b in zip(ours, theirs, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-14)
        np.testing.assert_array_equal(swap(a.y), b.y)
        assert_close(q.rnn.grads, p.rnn.grads, 1e-14)


def test_updates_between_windows_use_the_stored_states(problem):
    """The overlap is not computed again: backward has the old activations and the new weights."""
    p = problem(8, 1, 2, 3)
    truncation = bptt.TBPTT(4, 8)
    windows = p.rnn.windows(p.x, p.dy, lambda y, target: (0.0, target), truncation=truncation)
    next(windows)
    h_old, state = p.rnn.forward(p.x[:4])
    p.rnn.params *= 0.9
    next(windows)
    got = p.rnn.grads.copy()
    h_new, _ = p.rnn.forward(p.x[4:], state)
    h = np.concatenate([np.zeros((1, 1, 3)), h_old, h_new])
    w = p.rnn.param_views()["weight_hh_l0"]
    expected, dh_next = np.zeros((3, 3)), np.zeros(3)
    for t in reversed(range(8)):
        dz = (dh_next + (p.dy[t, 0] if t >= 4 else 0)) * (1 - h[t + 1, 0] ** 2)
        expected += np.outer(dz, h[t, 0])
        dh_next = w.T @ dz
    start = p.rnn.param_views()["weight_ih_l0"].size
    assert_close(got[start : start + 9].reshape(3, 3), expected, 1e-13)


def test_forward_inside_the_loop_does_not_disturb_it(problem):
    p = problem(20, 2, 3, 4, 2)
    plain = [p.rnn.grads.copy() for _ in p.rnn.windows(p.x, p.dy, truncation=bptt.TBPTT(3, 7))]
    disturbed = []
    for _ in p.rnn.windows(p.x, p.dy, truncation=bptt.TBPTT(3, 7)):
        disturbed.append(p.rnn.grads.copy())
        p.rnn.forward(p.x[:5])
        p.rnn.backward(p.dy[:5])
    np.testing.assert_array_equal(plain, disturbed)


@given(T=st.integers(1, 10**12), k1=st.integers(1, 10**6), more=st.integers(0, 10**6), data=st.data())
def test_window_arithmetic(T, k1, more, data):
    k2 = k1 + more
    count = _core.window_count(T, k1, k2)
    index = data.draw(st.integers(0, count - 1))
    start, stop, back = _core.window_at(T, k1, k2, index)
    assert start == index * k1
    assert stop == min(start + k1, T)
    assert back == max(0, stop - k2)
    assert (stop == T) == (index == count - 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif("BPTT_SANITIZE" in os.environ, reason="the sanitizer holds on to freed memory")
def test_long_sequences_from_a_memmap_in_constant_memory(tmp_path):
    """Private memory of the process, sampled at every thousandth window: that of 300,000 steps is at most 1 MB above
    that of the 20,000 before (x alone is 4.8 MB, a full tape would be 38 MB)."""
    script = """
        import sys
        import numpy as np
        import bptt

        def private_kb():
            lines = open("/proc/self/status").read().splitlines()
            return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])

        def peak(T):
            x = np.memmap(sys.argv[1], np.float32, "r", shape=(T, 1, 4))
            target = np.memmap(sys.argv[1], np.float32, "r", shape=(T, 1, 4))[:, :, :2]
            rnn = bptt.RNN(4, 32, 2, seed=0, threads=1)
            highest = steps = 0
            for i, w in enumerate(rnn.windows(x, target, truncation=bptt.TBPTT(20, 50))):
                rnn.clip_grad_norm(1.0)
                rnn.params -= 1e-3 * rnn.grads
                steps += w.stop - w.start
                if i % 1000 == 0 or w.stop == T:
                    highest = max(highest, private_kb())
            assert steps == T
            return highest

        few = peak(20_000)
        print(peak(300_000) - few)
    """
    path = tmp_path / "x.f32"
    np.random.default_rng(0).random(1_200_000, np.float32).tofile(path)
    command = [sys.executable, "-c", textwrap.dedent(script), path]
    growth = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert growth <= 1024


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True}], ids=str)
def test_states_may_be_nested_lists(problem, cell, options):
    """In forward, backward and windows; of two layers or directions too, where a list of two might seem a pair."""
    p = problem(6, 3, 2, 4, 2, cell=cell, **options)
    lists = p.states.tolist() if cell == "lstm" else p.states[0].tolist()
    dlists = [*p.dstates] if cell == "lstm" else [*p.dstates[0]]
    expected = p.copied_gradients()
    p.rnn.zero_grad()
    y, _ = p.rnn.forward(p.x, lists)
    dx, _ = p.rnn.backward(p.dy, dlists)
    np.testing.assert_array_equal(y, expected["y"])
    np.testing.assert_array_equal(dx, expected["x"])
    np.testing.assert_array_equal(p.rnn.grad_views()["weight_hh_l0"], expected["weight_hh_l0"])
    losses = [[w.loss for w in p.rnn.windows(p.x, p.dy, state=state)] for state in (p.state, lists)]
    assert losses[0] == losses[1]
    if cell == "lstm":
        np.testing.assert_array_equal(p.rnn.forward(p.x, p.states)[0], y)  # (2,L*D,B,H)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("checkpoint", [2, 3, 5])
def test_nan_before_a_reset_stays_out_of_an_overlap_with_checkpoints(problem, cell, checkpoint):
    """The last window goes back over the end of the one before, whose other steps have no part in it. In row 0 the
    reset lies before the overlap, in row 2 at its first step."""
    p = problem(8, 4, 2, 5, 2, cell=cell, num_layers=2)
    resets = {0: 2, 2: 3}
    reset = np.zeros((8, 4), bool)
    for row, t in resets.items():
        reset[t, row] = True

    def gradient(**options):
        *_, w = p.rnn.windows(p.x, p.dy, truncation=bptt.TBPTT(5), reset=reset, state=p.state, **options)
        assert (w.start, w.stop, len(np.atleast_2d(w.grad_norms)[0])) == (5, 8, 5)
        return p.rnn.grads.copy()

    plain, clean = gradient(), gradient(checkpoint=checkpoint)
    assert_close(clean, plain, 1e-12)
    for row, t in resets.items():
        p.x[:t, row] = p.states[:, :, row] = np.nan
    np.testing.assert_array_equal(gradient(checkpoint=checkpoint), clean)
