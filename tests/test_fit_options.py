"""bptt.fit: rates, accumulation, metrics, early stopping, callbacks of updates, validation in batches."""

import math
from functools import partial

import numpy as np
import pytest

import bptt


def delayed(rng, T=20, N=12, dtype=np.float32):
    x = rng.normal(size=(T, N, 1)).astype(dtype)
    return x, np.roll(x, 1, axis=0)


def fit(rnn, x, target, **options):
    return bptt.fit(rnn, x, target, **{"progress": False, "epochs": 3, "seed": 0} | options)


# ---- rates -------------------------------------------------------------------------------------------------


def test_lr_of_each_update(rng):
    """fit with a function is the loop that assigns optimizer.lr before each step."""
    x, target = delayed(rng)
    one, two = (bptt.RNN(1, 6, 1, seed=0) for _ in range(2))
    lr = bptt.schedule.cosine(0.02, 3, 9)
    history = fit(one, x, target, lr=lr, truncation=bptt.TBPTT(7), clip_norm=0.5)
    optimizer = bptt.Adam(two.params, two.grads)
    for epoch in range(3):
        for i, _ in enumerate(two.windows(x, target, truncation=bptt.TBPTT(7))):
            two.clip_grad_norm(0.5)
            optimizer.lr = lr(3 * epoch + i)
            optimizer.step()
    np.testing.assert_array_equal(one.params, two.params)
    assert history.lr == [lr(k) for k in range(9)]


@pytest.mark.parametrize("kind", [bptt.SGD, bptt.RMSprop, bptt.Adagrad, bptt.Adam])
def test_a_function_goes_with_an_optimizer(rng, kind):
    """Its state holds the rate that was used last."""
    x, target = delayed(rng)
    rnn = bptt.RNN(1, 6, 1, seed=0)
    optimizer = kind(rnn.params, rnn.grads, lr=7)
    history = fit(rnn, x, target, optimizer=optimizer, lr=lambda k: 0.01 / (k + 1))
    assert history.lr == [0.01, 0.005, 0.01 / 3]
    assert optimizer.lr == optimizer.state_dict()["lr"] == 0.01 / 3


def test_numbers_are_recorded_too(rng):
    x, target = delayed(rng)
    assert fit(bptt.RNN(1, 6, 1), x, target, lr=0.25).lr == [0.25] * 3
    rnn = bptt.RNN(1, 6, 1)

    class Foreign:
        def step(self):
            rnn.params -= 0.01 * rnn.grads

    assert fit(rnn, x, target, optimizer=Foreign()).lr == []


@pytest.mark.parametrize("lr, error, words", [
    (lambda k: -1, ValueError, "what lr returns for 0 must be a finite number"),
    (lambda k: math.nan, ValueError, "what lr returns for 0 must be a finite number"),
    (lambda k: "fast", TypeError, "what lr returns for 0 must be a number, got 'fast'"),
    (lambda k: None, TypeError, "what lr returns for 0 must be a number, got None"),
    (lambda k: 1e39, ValueError, "lr must be 0 or in .* the range of float32"),
    (bptt.schedule.cosine, TypeError, "lr must be a number or a function .*cosine'>: call it first"),
])  # fmt: skip
def test_bad_rates(rng, lr, error, words):
    x, target = delayed(rng)
    rnn = bptt.RNN(1, 6, 1, seed=0)
    kept, drawn = rnn.params.copy(), rnn.dropout_state
    with pytest.raises(error, match=words):
        fit(rnn, x, target, lr=lr)
    np.testing.assert_array_equal(rnn.params, kept)
    assert rnn.dropout_state == drawn


def test_a_rate_that_turns_bad_ends_the_training_before_that_update(rng):
    x, target = delayed(rng)
    one, two = (bptt.RNN(1, 6, 1, seed=0) for _ in range(2))
    with pytest.raises(ValueError, match="what lr returns for 2"):
        fit(one, x, target, lr=lambda k: [0.1, 0.1, -1][k])
    fit(two, x, target, lr=0.1, epochs=2)
    np.testing.assert_array_equal(one.params, two.params)


# ---- accumulation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "mask", "lengths", "labels", "class weights", "batch_first"])
@pytest.mark.parametrize("accumulate, batch_size", [(2, 6), (4, 3), (3, 5), (99, 1)])
def test_accumulated_minibatches_are_one_large_one(rng, kind, accumulate, batch_size):
    """To rounding, whatever each of them has that counts. The last update of an epoch is of those that are left."""
    x, target = delayed(rng, N=12, dtype=np.float64)
    options = {"cell": "gru", "dtype": "float64", "seed": 0, "batch_first": kind == "batch_first"}
    one, two = (bptt.RNN(1, 5, 3 if kind in ("labels", "class weights") else 1, **options) for _ in range(2))
    arguments = {"optimizer": "sgd", "lr": 0.1, "shuffle": False}
    if kind == "mask":
        arguments["mask"] = rng.random((20, 12)) < rng.random(12)
    if kind == "lengths":
        arguments["lengths"] = rng.integers(1, 21, 12)
    if kind in ("labels", "class weights"):
        target = rng.integers(0, 3, (20, 12))
        target[3:, ::2] = -100
        weight = [0.001, 0.002, 0.05] if kind == "class weights" else None
        arguments["loss"] = partial(bptt.cross_entropy, weight=weight)
    if kind == "batch_first":
        x, target = x.swapaxes(0, 1), target.swapaxes(0, 1)
    a = fit(one, x, target, accumulate=accumulate, batch_size=batch_size, **arguments)
    b = fit(two, x, target, batch_size=accumulate * batch_size, **arguments)
    np.testing.assert_allclose(one.params, two.params, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-10)
    np.testing.assert_allclose(a.update_loss, b.update_loss, rtol=1e-10)
    np.testing.assert_allclose(a.grad_norm, b.grad_norm, rtol=1e-10)
    assert len(a.lr) == len(a.update_loss) == 3 * math.ceil(math.ceil(12 / batch_size) / accumulate)


def test_accumulated_windows(rng):
    """Windows of TBPTT, the last shorter: the gradient is the mean over their steps."""
    x, target = delayed(rng, T=20, dtype=np.float64)
    one, two = (bptt.RNN(1, 5, 1, dtype="float64", seed=0) for _ in range(2))
    history = fit(one, x, target, truncation=bptt.TBPTT(7), accumulate=2, optimizer="sgd", lr=0.1, clip_norm=0.3)
    for _ in range(3):
        parts = [(w.grads, w.steps) for w in windows_of(two, x, target, bptt.TBPTT(7), [2, 3])]
        assert [steps for _, steps in parts] == [14, 6]
    np.testing.assert_allclose(one.params, two.params, rtol=1e-10)
    assert len(history.update_loss) == 6


class Part:
    def __init__(self, grads, steps):
        self.grads, self.steps = grads, steps


def windows_of(rnn, x, target, truncation, ends):
    """The loop written out: an update after those windows, of the mean over their steps."""
    parts, total, steps = [], 0, 0
    for i, w in enumerate(rnn.windows(x, target, truncation=truncation), 1):
        total = total + rnn.grads * (w.stop - w.start)
        steps += w.stop - w.start
        if i in ends:
            rnn.grads[:] = total / steps
            rnn.clip_grad_norm(0.3)
            rnn.params -= 0.1 * rnn.grads
            parts.append(Part(rnn.grads.copy(), steps))
            total, steps = 0, 0
    return parts


def test_accumulated_random_windows_stay_unbiased(rng):
    """At the rate 0 the updates of a pass are the sum of its windows' weighed gradients, divided by `accumulate`."""
    x, target = delayed(rng, T=200, N=3, dtype=np.float64)
    sums = []
    for accumulate in (1, 3):
        rnn = bptt.RNN(1, 5, 1, dtype="float64", seed=0)
        total = np.zeros_like(rnn.params)

        class Sum:
            def step(self, total=total, rnn=rnn):
                total += rnn.grads

        truncation = bptt.ARTBP(10, seed=3)
        history = fit(rnn, x, target, truncation=truncation, accumulate=accumulate, optimizer=Sum(), clip_norm=None)
        assert len(history.update_loss) > 15 / accumulate
        sums.append(total * accumulate)
    np.testing.assert_allclose(*sums, rtol=1e-9)


# ---- metrics -----------------------------------------------------------------------------------------------


def rows_seen(y, target):
    assert len(y) == len(target)
    return len(y)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_accuracy(rng, batch_first, loss):
    """Over what mask, lengths and ignored labels leave, in training and validation, as the loss is."""
    T, N = 15, 7
    x = rng.normal(size=(T, N, 2))
    mask, lengths = rng.random((T, N)) < 0.7, rng.integers(1, T + 1, N)
    counts = mask & (np.arange(T)[:, None] < lengths)
    rnn = bptt.RNN(2, 4, 3, seed=0, dtype="float64")
    y, _ = rnn.forward(x, lengths=lengths)
    if loss == "cross_entropy":
        target = rng.integers(0, 3, (T, N))
        target[5] = -100
        counts &= target != -100
        expected = np.mean(y.argmax(-1)[counts] == target[counts])
    else:
        target = (rng.random((T, N, 3)) < 0.5).astype(float)
        expected = np.mean((y > 0)[counts] == target[counts])
    rnn = bptt.RNN(2, 4, 3, seed=0, dtype="float64", batch_first=batch_first)
    if batch_first:
        x, target, mask = (a.swapaxes(0, 1) for a in (x, target, mask))
    for size in (None, 3):
        history = fit(rnn, x, target, loss=loss, mask=mask, lengths=lengths, optimizer="sgd", lr=0, batch_size=size,
                      metrics=["accuracy", rows_seen], validation=(x, target, mask, lengths))  # fmt: skip
        np.testing.assert_allclose(history.metrics["accuracy"], [expected] * 3, rtol=1e-12)
        np.testing.assert_allclose(history.val_metrics["accuracy"], [expected] * 3, rtol=1e-12)
        assert list(history.metrics) == list(history.val_metrics) == ["accuracy", "rows_seen"]
        if size is None:
            assert history.metrics["rows_seen"] == [counts.sum()] * 3


def test_metrics_of_windows_leave_out_the_burn_in(rng):
    x, target = delayed(rng, T=20, N=4)
    seen = []
    history = fit(bptt.RNN(1, 4, 1, seed=0), x, target, truncation=bptt.TBPTT(5), burn_in=6, epochs=1, lr=0,
                  metrics={"rows": lambda y, t: seen.append(t.copy()) or len(t)}, validation=(x, target))  # fmt: skip
    assert [len(t) for t in seen] == [20, 20, 16, 56]
    np.testing.assert_array_equal(np.concatenate(seen[:3]), seen[3])
    np.testing.assert_array_equal(seen[3], target[6:].reshape(-1, 1))
    assert history.metrics["rows"] == [pytest.approx((20 * 20 + 20 * 20 + 16 * 16) / 56)]
    assert history.val_metrics["rows"] == [56]


def test_one_sequence_without_a_batch_axis(rng, tmp_path):
    """(T,I) is the same as (T,1,I), in everything that fit does."""
    x, target = delayed(rng, T=21, N=1)
    results = []
    for part in (slice(None), 0):
        rnn = bptt.RNN(1, 4, 1, seed=0)
        arrays = x[:, part], target[:, part]
        mask = np.arange(21) % 5 > 0 if part == 0 else (np.arange(21) % 5 > 0)[:, None]
        history = fit(rnn, *arrays, truncation=bptt.TBPTT(4), accumulate=2, mask=mask, validation=(*arrays, mask),
                      metrics=rows_seen, patience=9, resume=tmp_path / str(part))  # fmt: skip
        results.append((rnn.params.tolist(), history.loss, history.val_loss, history.metrics, history.val_metrics))
    assert results[0] == results[1]


def test_metrics_of_nothing_are_not_a_number(rng):
    x, target = delayed(rng, T=6, N=4)
    mask = np.zeros((6, 4), bool)
    history = fit(bptt.RNN(1, 4, 1, seed=0), x, target, mask=mask, epochs=1, metrics=lambda_of_name("never"))
    assert math.isnan(history.metrics["never"][0])


def lambda_of_name(name):
    return {name: lambda y, t: 1 / 0}


@pytest.mark.parametrize("metrics, error, words", [
    (5, TypeError, r"metrics must be a function \(y, target\), a list or a dict of them, got 5"),
    ("f1", ValueError, "metrics.0. must be one of accuracy or a function .*, got 'f1'"),
    (["accuracy", 3], ValueError, "metrics.1. must be one of accuracy or a function .*, got 3"),
    ([lambda y, t: 1], ValueError, "metrics must be a dict {name: function} for <function .*: it has no name"),
    ([rows_seen, rows_seen], ValueError, "metrics must be a dict .*: another one is rows_seen"),
    ({"a": None}, ValueError, r"metrics\['a'\] must be one of accuracy or a function"),
    ({1: rows_seen}, TypeError, "metrics must have names of text, got 1"),
    ({"a": lambda y, t: y}, TypeError, r"metrics\['a'\] must return one number, got array"),
    ({"a": lambda y, t: None}, TypeError, r"metrics\['a'\] must return one number, got None"),
])  # fmt: skip
def test_bad_metrics(rng, metrics, error, words):
    x, target = delayed(rng)
    rnn = bptt.RNN(1, 6, 1, seed=0)
    kept = rnn.params.copy()
    with pytest.raises(error, match=words):
        fit(rnn, x, target, metrics=metrics)
    np.testing.assert_array_equal(rnn.params, kept)


# ---- early stopping ----------------------------------------------------------------------------------------


class Script:
    """A loss whose values are given; the training loss is 1."""

    def __init__(self, values):
        self.values = iter(values)

    def __call__(self, y, target):
        return (1.0 if len(target) == 4 else next(self.values)), np.ones_like(y)


LOSSES = [5, 4, 4, 3.9, 3.5, math.nan, 3.6, 3.5, 1, 0]


@pytest.mark.parametrize("patience, min_delta, epochs, best", [
    (1, 0, 3, 1), (2, 0, 7, 4), (3, 0, 8, 4), (4, 0, 10, 9), (2, 0.05, 7, 4), (2, 0.1, 4, 1), (3, 0.2, 8, 4),
    (20, 0, 10, 9),
])  # fmt: skip
def test_patience(rng, patience, min_delta, epochs, best):
    """The parameters at the end are those after the best epoch."""
    x, target = np.ones((4, 2, 1)), np.ones((4, 2, 1))
    held_out = np.ones((5, 2, 1)), np.ones((5, 2, 1))
    rnn, after = bptt.RNN(1, 3, 1, seed=0), []
    history = fit(rnn, x, target, loss=Script(LOSSES), validation=held_out, epochs=10, patience=patience,
                  min_delta=min_delta, callback=lambda *_: after.append(rnn.params.copy()))  # fmt: skip
    assert len(history.loss) == len(after) == epochs
    assert history.best_epoch == best
    assert history.stopped == ("patience" if epochs < 10 else None)
    np.testing.assert_array_equal(rnn.params, after[best])
    assert epochs == best + 1 or not np.array_equal(after[-1], after[best])


def test_patience_without_validation(rng):
    """The training loss is what counts."""
    x, target = delayed(rng)
    rnn = bptt.RNN(1, 6, 1, seed=0)
    history = fit(rnn, x, target, lr=lambda k: 0.01 if k < 5 else 0, epochs=50, patience=4)
    assert len(history.loss) == 6 + 4
    assert history.best_epoch == 5
    assert min(history.loss) == history.loss[5]


def test_a_callback_that_stops_gives_the_best_parameters_too(rng):
    x, target = np.ones((4, 2, 1)), np.ones((4, 2, 1))
    held_out, after = (np.ones((5, 2, 1)), np.ones((5, 2, 1))), []
    rnn = bptt.RNN(1, 3, 1, seed=0)

    def callback(epoch, history):
        after.append(rnn.params.copy())
        assert history.best_epoch == [0, 1, 1][epoch]
        return epoch == 2

    history = fit(rnn, x, target, loss=Script(LOSSES), validation=held_out, epochs=10, patience=5, callback=callback)
    assert history.stopped == "callback"
    np.testing.assert_array_equal(rnn.params, after[1])


def test_without_patience_the_last_parameters_stay(rng):
    x, target = np.ones((4, 2, 1)), np.ones((4, 2, 1))
    held_out, after = (np.ones((5, 2, 1)), np.ones((5, 2, 1))), []
    rnn = bptt.RNN(1, 3, 1, seed=0)
    history = fit(rnn, x, target, loss=Script(LOSSES), validation=held_out, epochs=3,
                  callback=lambda *_: after.append(rnn.params.copy()))  # fmt: skip
    assert history.best_epoch is None
    np.testing.assert_array_equal(rnn.params, after[2])


# ---- callbacks of updates ----------------------------------------------------------------------------------


def test_on_update(rng):
    x, target = delayed(rng)
    seen = []

    def on_update(update, history):
        seen.append((update, len(history.update_loss), len(history.grad_norm), len(history.lr), len(history.loss)))

    history = fit(bptt.RNN(1, 6, 1), x, target, batch_size=4, on_update=on_update, epochs=2)
    assert seen == [(k, k + 1, k + 1, k + 1, k // 3) for k in range(6)]
    assert history.stopped is None


@pytest.mark.parametrize("truncation", [None, bptt.TBPTT(6), bptt.ARTBP(5, seed=0)])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("value", [True, np.True_, 1, "enough"])
def test_on_update_ends_the_training_at_once(rng, truncation, accumulate, value):
    """With whole records: the epoch under way is none of them."""
    x, target = delayed(rng)
    rnn = bptt.RNN(1, 6, 1, seed=0)
    after = []

    def on_update(update, history):
        after.append(rnn.params.copy())
        return value if update == 3 else None

    history = fit(rnn, x, target, batch_size=4, truncation=truncation, accumulate=accumulate, on_update=on_update,
                  validation=(x, target), epochs=4)  # fmt: skip
    assert len(history.update_loss) == len(history.grad_norm) == len(after) == 4
    assert len(history.loss) == len(history.val_loss) == len(history.seconds) < 4
    assert history.stopped == "on_update"
    np.testing.assert_array_equal(rnn.params, after[-1])


# ---- validation in batches ---------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_validation_in_batches(rng, batch_first, masked):
    """The same loss, to rounding, from forwards of few rows."""
    x, target = delayed(rng, T=10, N=11, dtype=np.float64)
    mask, lengths = rng.random((10, 11)) < 0.6, rng.integers(1, 11, 11)
    rnn = bptt.RNN(1, 4, 1, dtype="float64", batch_first=batch_first, seed=0)
    if batch_first:
        x, target, mask = (a.swapaxes(0, 1) for a in (x, target, mask))
    validation = (x, target, mask, lengths) if masked else (x, target)
    rows = []

    class Watched(bptt.RNN):
        def forward(self, x, *args, tape=True, **options):
            rows.append(x.shape[1 - int(batch_first)])
            return super().forward(x, *args, tape=tape, **options)

    losses = []
    for size, expected in ((None, [11]), (11, [11]), (4, [4, 4, 3]), (1, [1] * 11)):
        rnn = Watched(1, 4, 1, dtype="float64", batch_first=batch_first, seed=0)
        rows.clear()
        losses += fit(rnn, x, target, lr=0.1, optimizer="sgd", epochs=1, validation=validation,
                      validation_batch_size=size).val_loss  # fmt: skip
        assert rows == expected
    np.testing.assert_allclose(losses, losses[0], rtol=1e-13)
    rows.clear()
    fit(rnn, x, target, epochs=1, validation=validation, batch_size=5)
    assert rows == [5, 5, 1]


def test_an_optimizer_prints_what_it_is():
    params = np.ones(3)
    adam = bptt.Adam(params, params.copy(), lr=0.1, weight_decay=0.5, decoupled=True)
    assert repr(adam) == "Adam(lr=0.1, betas=(0.9, 0.999), decoupled=True, eps=1e-08, weight_decay=0.5)"
    assert repr(bptt.SGD(params, params.copy(), momentum=0.5)) == (
        "SGD(lr=0.01, momentum=0.5, nesterov=False, weight_decay=0.0)"
    )
    assert adam.hyperparameters() == {"betas": (0.9, 0.999), "decoupled": True, "eps": 1e-8, "weight_decay": 0.5}
