"""ARTBP: the law of the cuts, that it is unbiased, its windows, and a problem where fixed truncation fails."""

import itertools
import math

import numpy as np
import pytest
from cases import assert_close

import bptt

LAWS = pytest.mark.parametrize("a", [3, 1.5, math.inf])


def ages_of(factors):
    """1, 2, .. since the last cut, for each step."""
    ages, age = [], 0
    for factor in factors:
        age += 1
        ages.append(age)
        if factor == 0:
            age = 0
    return np.array(ages)


@LAWS
def test_the_law(a):
    law = bptt.ARTBP(16, a)
    i = np.arange(1, 50)
    np.testing.assert_allclose(law.probability(i), np.full(49, 1 / 16) if a == math.inf else a / ((a - 1) * 16 + i))
    assert bptt.ARTBP(1, a).probability(1) == 1  # every step is cut
    assert law.mean_length == 16
    assert law.a == a
    assert repr(law) == f"ARTBP(16.0, a={float(a)!r})"


def patterns(law, T):
    """(probability, carry) of each way to cut T steps; the last step's factor scales nothing."""
    for cuts in itertools.product([False, True], repeat=T - 1):
        carry, weight, age = np.ones(T), 1.0, 0
        for t, cut in enumerate(cuts):
            age += 1
            c = law.probability(age)
            weight *= c if cut else 1 - c
            carry[t] = 0 if cut else 1 / (1 - c)
            age *= not cut
        yield weight, carry


@LAWS
@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru"])
def test_unbiased_over_all_cuts(problem, a, cell):
    """T = 7: the 2^6 patterns, weighted by their probability, sum to the gradient of full BPTT; without the factor
    they miss it by a large part."""
    p = problem(7, 2, 2, 4, 2, cell=cell)
    p.rnn.params *= 2
    full = p.gradients()["weight_hh_l0"].copy()
    total, plain, weights = np.zeros_like(full), np.zeros_like(full), 0
    for weight, carry in patterns(bptt.ARTBP(3, a), 7):
        p.carry = carry
        total += weight * p.gradients()["weight_hh_l0"]
        p.carry = (carry > 0).astype(float)
        plain += weight * p.gradients()["weight_hh_l0"]
        weights += weight
    assert weights == pytest.approx(1, abs=1e-14)
    assert_close(total, full, 1e-12)
    assert np.linalg.norm(plain - full) > (0.2 if cell == "tanh" else 0.04) * np.linalg.norm(full)


@LAWS
def test_factors_belong_to_the_age_that_drew_the_cut(a):
    """Of the windows that reach age i, a share of c_i ends there; where they go on, the factor is 1/(1-c_i)."""
    law = bptt.ARTBP(5, a, seed=3)
    cuts, factors = law.schedule(200_000)
    ages = ages_of(factors)
    np.testing.assert_array_equal(cuts, np.flatnonzero(factors == 0))
    on = factors != 0
    np.testing.assert_allclose(factors[on], 1 / (1 - law.probability(ages[on])), rtol=1e-14)
    for age in range(1, 12):
        reached = np.count_nonzero(ages == age)
        share = np.count_nonzero((ages == age) & ~on) / reached
        c = law.probability(age)
        assert abs(share - c) < 4 * math.sqrt(c * (1 - c) / reached)


@pytest.mark.parametrize("a", [3, math.inf])
@pytest.mark.parametrize("mean_length", [1, 2.5, 16])
def test_mean_length(mean_length, a):
    cuts, _ = bptt.ARTBP(mean_length, a, seed=11).schedule(int(20_000 * mean_length))
    lengths = np.diff(cuts)
    error = lengths.std() / math.sqrt(len(lengths))
    assert abs(lengths.mean() - mean_length) <= 3 * error
    if a == math.inf:  # geometric: variance (1-c)/c^2
        assert lengths.std() == pytest.approx(math.sqrt(mean_length * (mean_length - 1)), rel=0.05)


def test_schedule_is_reproducible():
    cuts, factors = bptt.ARTBP(7, seed=5).schedule(1000)
    again, same = bptt.ARTBP(7, seed=5).schedule(1000)
    np.testing.assert_array_equal(cuts, again)
    np.testing.assert_array_equal(factors, same)
    for T in (1, 10, 999):
        np.testing.assert_array_equal(bptt.ARTBP(7, seed=5).schedule(T)[1], factors[:T])
    assert not np.array_equal(bptt.ARTBP(7, seed=6).schedule(1000)[1], factors)
    rng = np.random.default_rng(5)
    assert not np.array_equal(bptt.ARTBP(7, seed=rng).schedule(50)[1], bptt.ARTBP(7, seed=rng).schedule(50)[1])


def stops(rnn, x, law):
    return [w.stop for w in rnn.windows(x, x, truncation=law)]


def test_each_pass_has_cuts_of_its_own(rng):
    x = rng.normal(size=(200, 1, 2))
    rnn = bptt.RNN(2, 3, 2, seed=0)
    law = bptt.ARTBP(6, seed=1)
    passes = []
    for _ in range(3):
        expected = law.schedule(200)[0] + 1
        passes.append(stops(rnn, x, law))
        assert passes[-1] == sorted({*expected.tolist(), 200})
    assert passes[0] != passes[1] != passes[2]
    again = bptt.ARTBP(6, seed=1)
    next(rnn.windows(x, x, truncation=again))  # left early: the next pass is the second all the same
    assert [stops(rnn, x, again), stops(rnn, x, again)] == passes[1:]


@LAWS
@pytest.mark.parametrize("clip", [None, 0.3])
def test_windows_are_backward_with_the_schedule(problem, a, clip):
    """Their gradients are those of one forward over the whole sequence and backward with the factors as carry."""
    p = problem(150, 3, 2, 5, 2, reset=True)
    law = bptt.ARTBP(4, a, seed=2)
    _, factors = law.schedule(150)
    y, _ = p.rnn.forward(p.x, p.state, reset=p.reset)
    total = np.zeros_like(p.rnn.grads)
    lengths = []
    options = {"truncation": law, "state": p.state, "reset": p.reset, "reduction": "sum", "step_clip_norm": clip}
    for w in p.rnn.windows(p.x, p.dy, **options):
        got = p.rnn.grads.copy()
        total += got
        lengths.append(w.stop - w.start)
        assert len(w.grad_norms) == lengths[-1]
        np.testing.assert_allclose(w.y, y[w.start : w.stop], rtol=0, atol=1e-14)
        dy = np.zeros_like(y)
        dy[w.start : w.stop] = 2 * (y - p.dy)[w.start : w.stop]
        p.rnn.forward(p.x, p.state, reset=p.reset)
        p.rnn.zero_grad()
        p.rnn.backward(dy, carry=factors, step_clip_norm=clip)
        assert_close(got, p.rnn.grads, 1e-12)
    assert max(lengths) > 4 * min(lengths)  # beyond the tape that was made to begin with
    p.rnn.forward(p.x, p.state, reset=p.reset)
    p.rnn.zero_grad()
    p.rnn.backward(2 * (y - p.dy), carry=factors, step_clip_norm=clip)
    assert_close(total, p.rnn.grads, 1e-12)


def influence_balancing(truncation, limit=1e3, steps=200_000):
    """Tallec & Ollivier 2017: s_{t+1} = A s_t + theta v with the loss (s^1 - 1)^2 / 2 at every step. theta acts on s^1
    with one sign soon and with the other, more strongly, later. Returns theta, early if it is beyond `limit`."""
    H, theta = 23, 0.5
    v = np.where(np.arange(H) < 10, 1.0, -1.0)
    rnn = bptt.RNN(1, H, cell="identity", bias=False, dtype="float64", threads=1)
    weights = rnn.param_views()
    gradient = rnn.grad_views()["weight_ih_l0"][:, 0]
    weights["weight_hh_l0"][...] = (np.eye(H) + np.eye(H, k=1)) / 2
    weights["weight_ih_l0"][:, 0] = theta * v

    def loss(s, target):
        ds = np.zeros_like(s)
        ds[..., 0] = s[..., 0] - target
        return 0.5 * np.sum(ds**2), ds

    x = np.ones((steps, 1, 1))
    for _ in rnn.windows(x, x[..., 0], loss, truncation=truncation, state=np.ones((1, 1, H))):
        theta -= 1e-4 * (v @ gradient)
        weights["weight_ih_l0"][:, 0] = theta * v
        if abs(theta) > limit:
            break
    return theta


@pytest.mark.parametrize("k", [10, 100])
def test_influence_balancing_diverges(k):
    """theta's error grows by a factor with every window, so a thousand times the solution is far enough."""
    assert influence_balancing(bptt.TBPTT(k)) > 1e3


@pytest.mark.parametrize("truncation", [bptt.TBPTT(200), bptt.ARTBP(16)])
def test_influence_balancing_converges(truncation):
    assert influence_balancing(truncation) == pytest.approx(-1 / 6, abs=1e-6)


def test_fit_has_new_cuts_for_every_minibatch(rng):
    x = rng.normal(size=(40, 6, 1))
    windows = []

    def loss(y, target):
        windows.append(y.shape[:2])
        return 0.0, np.zeros_like(y)

    def run():
        windows.clear()
        law = bptt.ARTBP(8, seed=4)
        history = bptt.fit(bptt.RNN(1, 3, 1), x, x, loss=loss, truncation=law, epochs=3, batch_size=4, progress=False)
        assert len(history.update_loss) == len(windows)
        return list(windows)

    first = run()
    assert run() == first
    expected = []
    law = bptt.ARTBP(8, seed=4)
    rnn = bptt.RNN(1, 3, 1)
    for rows in (4, 2) * 3:
        expected += [(w.stop - w.start, rows) for w in rnn.windows(x[:, :rows], x[:, :rows], truncation=law)]
    assert first == expected


def test_fit_weighs_all_steps_alike(rng):
    """The sum of an epoch's updates is L0 times less than that of the windows' sums, per row."""
    x, target = rng.normal(size=(60, 4, 2)), rng.normal(size=(60, 4, 1))
    mask = rng.random((60, 4)) < 0.7
    updates = []

    class Recorder:
        def step(self):
            updates.append(rnn.grads.copy())

    for options in ({}, {"mask": mask}):
        rnn = bptt.RNN(2, 5, 1, seed=0, dtype="float64")
        updates.clear()
        bptt.fit(rnn, x, target, optimizer=Recorder(), truncation=bptt.ARTBP(8, seed=4), epochs=1, clip_norm=None,
                 progress=False, **options)  # fmt: skip
        windows = rnn.windows(x, target, truncation=bptt.ARTBP(8, seed=4), reduction="sum", **options)
        for _, update in zip(windows, updates, strict=True):
            assert_close(update, rnn.grads / (8 * 4), 1e-12)


def test_progress_bar_without_a_total(rng, capsys):
    x = rng.normal(size=(20, 2, 1))
    bptt.fit(bptt.RNN(1, 3, 1), x, x, epochs=2, truncation=bptt.ARTBP(5))
    assert "epoch 2/2" in capsys.readouterr().err
