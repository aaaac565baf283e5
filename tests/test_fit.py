"""bptt.fit, and Ctrl-C."""

import io
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import bptt


def delayed_sum(rng, T=30, N=64):
    """x (T,N,1); the target is the sum of the inputs of this step and the two before."""
    x = rng.normal(size=(T, N, 1)).astype(np.float32)
    target = x.copy()
    target[1:] += x[:-1]
    target[2:] += x[:-2]
    return x, target


@pytest.mark.parametrize("optimizer, lr", [("adam", 1e-2), ("rmsprop", 3e-3), ("adagrad", 5e-2), ("sgd", 0.1)])
@pytest.mark.parametrize("truncation", [None, bptt.TBPTT(10, 15)])
def test_learns_a_delayed_sum(rng, optimizer, lr, truncation):
    x, target = delayed_sum(rng)
    rnn = bptt.RNN(1, 32, 1, seed=0)
    validation = delayed_sum(np.random.default_rng(5))
    history = bptt.fit(rnn, x, target, optimizer=optimizer, lr=lr, epochs=40, batch_size=16, truncation=truncation,
                       validation=validation, seed=0, progress=False)  # fmt: skip
    assert len(history.loss) == len(history.val_loss) == len(history.seconds) == 40
    assert len(history.update_loss) == len(history.grad_norm) == 40 * 4 * (1 if truncation is None else 3)
    assert history.val_loss[-1] < 0.2 < 1 < history.loss[0]
    y, _ = rnn.forward(validation[0])
    assert history.val_loss[-1] == pytest.approx(bptt.mse(y, validation[1])[0])


def test_one_update_is_the_loop_written_out(rng):
    x, target = delayed_sum(rng, N=8)
    a, b = (bptt.RNN(1, 8, 1, seed=0) for _ in range(2))
    history = bptt.fit(a, x, target, lr=0.01, epochs=2, clip_norm=0.5, clip_value=0.1, progress=False)
    optimizer = bptt.Adam(b.params, b.grads, lr=0.01)
    for epoch in range(2):
        for w in b.windows(x, target):
            norm = b.clip_grad_norm(0.5)
            b.clip_grad_value(0.1)
            optimizer.step()
            assert history.loss[epoch] == pytest.approx(w.loss)
            assert history.grad_norm[epoch] == norm
    np.testing.assert_array_equal(a.params, b.params)


@pytest.mark.parametrize("options", [
    {"cell": "lstm", "num_layers": 2, "forget_bias": 1.0}, {"cell": "lstm", "peepholes": True, "learn_state": True},
    {"cell": "gru", "bidirectional": True}, {"cell": "gru", "reset_after": False, "num_layers": 2},
    {"cell": "lstm", "num_layers": 2, "bidirectional": True, "learn_state": True},
    {"cell": "tanh", "num_layers": 2, "dropout": 0.05, "recurrent_dropout": 0.05},
], ids=str)  # fmt: skip
def test_every_kind_of_network_learns(rng, options):
    x, target = delayed_sum(rng)
    both_ways = options.get("bidirectional", False)
    rnn = bptt.RNN(1, 16, 1, seed=0, **options)
    validation = delayed_sum(np.random.default_rng(5))
    before = bptt.mse(rnn.forward(validation[0], tape=False)[0], validation[1])[0]
    learned = {name: view.copy() for name, view in rnn.param_views().items() if name.startswith("state_")}
    history = bptt.fit(rnn, x, target, lr=1e-2, epochs=30, batch_size=16, validation=validation, seed=0, progress=False,
                       truncation=None if both_ways else bptt.TBPTT(10, 15))  # fmt: skip
    assert history.val_loss[-1] < 0.35 * before
    for name, view in learned.items():
        assert (rnn.param_views()[name] != view).all(), name


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_size", [None, 4])
def test_lengths(rng, batch_first, bidirectional, batch_size):
    """Minibatches take their rows' lengths: every update is that of the rows without their padding."""
    x, target = delayed_sum(rng, T=12, N=10)
    lengths = rng.integers(1, 13, 10)
    target[np.arange(12)[:, None] >= lengths] = 1e30
    options = {"cell": "gru", "bidirectional": bidirectional, "dtype": "float64", "seed": 0}
    rnn, plain = bptt.RNN(1, 4, 1, batch_first=batch_first, **options), bptt.RNN(1, 4, 1, **options)
    swapped = [a.swapaxes(0, 1) if batch_first else a for a in (x, target)]
    history = bptt.fit(rnn, *swapped, optimizer="sgd", lr=0.1, epochs=2, lengths=lengths, batch_size=batch_size,
                       clip_norm=None, seed=3, progress=False)  # fmt: skip
    optimizer, shuffle, losses = bptt.SGD(plain.params, plain.grads, lr=0.1), np.random.default_rng(3), []
    for _ in range(2):
        order = shuffle.permutation(10)
        total = 0.0
        for first in range(0, 10, batch_size or 10):
            rows = order[first : first + (batch_size or 10)]
            plain.zero_grad()
            for row in rows:
                y, _ = plain.forward(x[: lengths[row], row])
                error = y - target[: lengths[row], row]
                total += (error**2).sum()
                plain.backward(2 * error / lengths[rows].sum(), input_grad=False)
            optimizer.step()
        losses.append(total / lengths.sum())
    np.testing.assert_allclose(history.loss, losses, rtol=1e-12)
    np.testing.assert_allclose(rnn.params, plain.params, rtol=1e-10)


def test_lengths_combine_with_masks_and_ignored_labels(rng):
    x = rng.normal(size=(12, 4, 2))
    labels = rng.integers(0, 3, (12, 4))
    labels[3:5] = -100
    mask, lengths = rng.random((12, 4)) < 0.7, np.array([12, 2, 7, 9])
    rnn = bptt.RNN(2, 4, 3, seed=0, dtype="float64")
    counts = mask & (np.arange(12)[:, None] < lengths)
    expected = bptt.cross_entropy(rnn.forward(x)[0], labels, mask=counts)[0]
    for batch_size in (None, 1, 3):
        history = bptt.fit(rnn, x, labels, loss="cross_entropy", optimizer="sgd", lr=0, epochs=1, lengths=lengths,
                           mask=mask, batch_size=batch_size, progress=False)  # fmt: skip
        assert history.loss[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("batch_first", [False, True])
def test_minibatches_hold_every_sequence_once(batch_first):
    x = np.arange(10.0)[None, :, None] * np.ones((4, 1, 1))  # row b holds b
    x = x.swapaxes(0, 1) if batch_first else x
    seen = []

    def loss(y, target, mask):
        seen.extend(target[:, 0, 0] if batch_first else target[0, :, 0])
        assert mask.shape == target.shape[:-1]
        return 0.0, np.zeros_like(y)

    rnn = bptt.RNN(1, 3, 1, batch_first=batch_first, seed=0)
    mask = np.ones(x.shape[:-1], bool)
    bptt.fit(rnn, x, x, loss=loss, epochs=2, batch_size=4, mask=mask, seed=1, progress=False)
    assert sorted(seen[:10]) == list(range(10))
    assert sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    seen.clear()
    bptt.fit(rnn, x, x, loss=loss, epochs=1, batch_size=4, mask=mask, shuffle=False, progress=False)
    assert seen == list(range(10))


def test_callback_ends_the_training(rng):
    x, target = delayed_sum(rng, N=4)
    epochs = []

    def callback(epoch, history):
        epochs.append(epoch)
        assert len(history.loss) == epoch + 1
        return epoch == 2

    history = bptt.fit(bptt.RNN(1, 4, 1), x, target, epochs=9, callback=callback, progress=False)
    assert epochs == [0, 1, 2]
    assert len(history.loss) == 3


@pytest.mark.parametrize("value", [True, np.True_, 1, 2.5, "enough", np.array([1])], ids=repr)
def test_callback_ends_the_training_by_any_true_value(rng, value):
    x, target = delayed_sum(rng, N=4)
    history = bptt.fit(bptt.RNN(1, 4, 1), x, target, epochs=9, callback=lambda *_: value, progress=False)
    assert len(history.loss) == 1


@pytest.mark.parametrize("value", [None, False, np.False_, 0, "", np.array([0])], ids=repr)
def test_callback_goes_on_by_any_false_value(rng, value):
    x, target = delayed_sum(rng, N=4)
    history = bptt.fit(bptt.RNN(1, 4, 1), x, target, epochs=3, callback=lambda *_: value, progress=False)
    assert len(history.loss) == 3


def test_a_callback_that_cannot_be_called_is_an_error_before_the_training(rng):
    x, target = delayed_sum(rng, N=4)
    rnn = bptt.RNN(1, 4, 1, seed=0)
    kept = rnn.params.copy()
    with pytest.raises(TypeError, match=r"callback must be a function \(epoch, history\), got \[\]"):
        bptt.fit(rnn, x, target, callback=[], progress=False)
    np.testing.assert_array_equal(rnn.params, kept)


def test_an_error_of_the_callback_leaves_whole_weights(rng):
    x, target = delayed_sum(rng, N=4)
    one, two = (bptt.RNN(1, 4, 1, seed=0) for _ in range(2))

    def callback(epoch, history):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        bptt.fit(one, x, target, epochs=9, callback=callback, progress=False)
    bptt.fit(two, x, target, epochs=1, progress=False)
    np.testing.assert_array_equal(one.params, two.params)


class Foreign:
    """Another library's optimiser: step() and, where it has one, lr."""

    def __init__(self, rnn, **attributes):
        self.rnn = rnn
        vars(self).update(attributes)

    def step(self):
        self.rnn.params -= 0.01 * self.rnn.grads


def shown(text):
    """[{name: value}] of the numbers behind the bar, each time that it was drawn."""
    found = [dict(re.findall(r"[, ](loss|val|norm|lr) ([^, ]+)", line)) for line in re.split("[\r\n]", text)]
    return [numbers for numbers in found if numbers]


def test_progress_bar(rng, capsys):
    x, target = delayed_sum(rng, N=4)
    history = bptt.fit(bptt.RNN(1, 4, 1), x, target, epochs=3, lr=0.002, validation=(x, target))
    text = capsys.readouterr().err
    assert "epoch 3/3" in text
    assert shown(text)[-1] == {"loss": f"{history.loss[-1]:.3g}", "val": f"{history.val_loss[-1]:.3g}",
                               "norm": f"{history.grad_norm[-1]:.3g}", "lr": "0.002"}  # fmt: skip


@pytest.mark.parametrize("attributes, lr", [({"lr": 0.25}, "0.25"), ({"lr": np.float32(3e-5)}, "3e-05"), ({}, None),
                                            ({"lr": lambda: 0.1}, None), ({"lr": [0.1]}, None)])  # fmt: skip
def test_progress_bar_of_a_foreign_optimizer(rng, capsys, attributes, lr):
    x, target = delayed_sum(rng, N=4)
    rnn = bptt.RNN(1, 4, 1)
    bptt.fit(rnn, x, target, optimizer=Foreign(rnn, **attributes), epochs=1)
    assert shown(capsys.readouterr().err)[-1].get("lr") == lr


def test_progress_bar_of_random_windows(rng, capsys):
    """Their number is not known before."""
    x, target = delayed_sum(rng, N=4)
    history = bptt.fit(bptt.RNN(1, 4, 1), x, target, truncation=bptt.ARTBP(10, seed=0), epochs=2)
    text = capsys.readouterr().err
    assert f"epoch 2/2, {len(history.update_loss)} windows, loss " in text
    assert shown(text)[-1]["lr"] == "0.001"


def test_the_bar_is_whole_in_80_columns(rng, monkeypatch):
    x, target = delayed_sum(rng, N=4)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    bptt.fit(bptt.RNN(1, 4, 1), x, target, lr=1.25e-5, epochs=12, batch_size=1, validation=(x, target))
    last = re.split("[\r\n]", stream.getvalue().strip())[-1]
    assert last.startswith("epoch 12/12 |##########| ")  # in a terminal one # may be left of the bar
    assert last.endswith(", lr 1.25e-05")
    assert len(last) - 9 <= 80


def test_the_bar_follows_a_schedule(rng, capsys):
    x, target = delayed_sum(rng, N=4)
    rnn = bptt.RNN(1, 4, 1)
    optimizer = bptt.Adam(rnn.params, rnn.grads, lr=0.5)

    def halve(epoch, history):
        optimizer.lr /= 2

    bptt.fit(rnn, x, target, optimizer=optimizer, epochs=3, callback=halve)
    assert shown(capsys.readouterr().err)[-1]["lr"] == "0.125"


def test_lr_goes_with_a_name(rng):
    x, target = delayed_sum(rng, N=4)
    rnn = bptt.RNN(1, 4, 1, seed=0)
    kept = rnn.params.copy()
    for optimizer, kind in ((bptt.SGD(rnn.params, rnn.grads, lr=0.1), "SGD"), (Foreign(rnn), "Foreign")):
        with pytest.raises(ValueError, match=f"lr goes with .* got lr=0.001 and an object of type {kind}"):
            bptt.fit(rnn, x, target, optimizer=optimizer, lr=1e-3, progress=False)
    np.testing.assert_array_equal(rnn.params, kept)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "adagrad", "sgd"])
def test_lr_of_a_name_is_a_thousandth(rng, name):
    x, target = delayed_sum(rng, N=4)
    one, two = (bptt.RNN(1, 4, 1, seed=0) for _ in range(2))
    bptt.fit(one, x, target, optimizer=name, progress=False)
    bptt.fit(two, x, target, optimizer=name, lr=1e-3, progress=False)
    np.testing.assert_array_equal(one.params, two.params)


def test_names_are_taken_in_any_case(rng):
    x, target = delayed_sum(rng, N=4)
    one = bptt.RNN(1, 4, 1, cell="LSTM", init="Orthogonal", seed=0)
    two = bptt.RNN(1, 4, 1, cell="lstm", init="orthogonal", seed=0)
    assert one.cell == "lstm"
    assert one.spec == two.spec
    bptt.fit(one, x, target, loss="MSE", optimizer="RMSprop", progress=False)
    bptt.fit(two, x, target, loss="mse", optimizer="rmsprop", progress=False)
    np.testing.assert_array_equal(one.params, two.params)
    weights = [np.ones((1, 16)), np.ones((4, 16)), np.zeros(16)]
    assert bptt.convert.from_keras_weights(weights, "LSTM").cell == "lstm"
    assert next(iter(one.windows(x, target, "Mse"))).loss == next(iter(two.windows(x, target))).loss


@pytest.mark.parametrize("given, recorded", [(0.5, 0.5), (None, None), (np.inf, None)])
def test_history_holds_the_threshold(rng, given, recorded):
    x, target = delayed_sum(rng, N=4)
    history = bptt.fit(bptt.RNN(1, 4, 1), x, target, clip_norm=given, epochs=1, progress=False)
    assert history.clip_norm == recorded


@pytest.mark.parametrize("call, words", [
    (lambda: bptt.RNN(1, 4, num_layer=2), r"RNN\(\) got .* 'num_layer'. Did you mean 'num_layers'\?$"),
    (lambda: bptt.RNN(1, 4, innit="uniform"), r"Did you mean 'init'\?$"),
    (lambda: bptt.RNN(1, 4).windows(0, 0, truncate=2), r"windows\(\) got .* 'truncate'. Did you mean 'truncation'\?$"),
    (lambda: bptt.RNN(1, 4, wavelength=1), r"got an unexpected keyword argument 'wavelength'$"),
])  # fmt: skip
def test_a_keyword_that_is_no_argument(call, words):
    with pytest.raises(TypeError, match=words):
        call()


def test_an_iterable_of_chunks_goes_to_windows(rng):
    x, target = delayed_sum(rng, N=4)
    rnn = bptt.RNN(1, 4, 1)
    for name, arguments in {"x": (iter([x]), target), "target": (x, (part for part in [target]))}.items():
        with pytest.raises(TypeError, match=f"{name} must be an array .* an iterable of chunks goes to rnn.windows"):
            bptt.fit(rnn, *arguments, progress=False)


def test_own_optimizer_and_loss(rng):
    x, target = delayed_sum(rng, N=4)
    rnn = bptt.RNN(1, 4, 1, seed=0)
    optimizer = bptt.SGD(rnn.params, rnn.grads, lr=0)
    kept = rnn.params.copy()
    bptt.fit(rnn, x, target, loss=bptt.mse, optimizer=optimizer, epochs=1, progress=False)
    np.testing.assert_array_equal(rnn.params, kept)


def seconds_until_interrupt(call, after=0.7):
    """Time from Ctrl-C to the exception."""
    began = []

    def interrupt():
        began.append(time.perf_counter())
        if os.name == "nt":
            signal.raise_signal(signal.SIGINT)
        else:
            os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(after, interrupt)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
    finally:
        timer.cancel()
    return time.perf_counter() - began[0]


def ends_within(seconds, measure):
    """Whether one of three tries takes less: a busy machine may stand still during one."""
    return any(measure() < seconds for _ in range(3))


@pytest.mark.parametrize("truncation", [None, bptt.TBPTT(50)])
def test_ctrl_c_stops_fit_within_a_second_with_whole_weights(rng, truncation):
    """None: an epoch is one call of forward and one of backward, seconds long."""
    T = 300_000 if truncation is None else 20_000
    x = rng.normal(size=(T, 1, 3)).astype(np.float32)
    rnn = bptt.RNN(3, 256, 3, seed=0)
    whole = [rnn.params.copy()]  # the weights before the update that was under way, and after it

    class Optimizer(bptt.SGD):
        def step(self):
            after = rnn.params.copy()
            bptt.SGD(after, rnn.grads, lr=self.lr).step()
            whole[:] = [rnn.params.copy(), after]
            super().step()

    optimizer = Optimizer(rnn.params, rnn.grads, lr=1e-3)

    def fit():
        bptt.fit(rnn, x, x, optimizer=optimizer, epochs=10**6, truncation=truncation, progress=False)

    assert ends_within(1, lambda: seconds_until_interrupt(fit))
    assert any(np.array_equal(rnn.params, version) for version in whole)
    y, _ = rnn.forward(x[:10])
    assert np.isfinite(y).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_stops_one_long_call(rng, threads):
    """The call would take about five seconds."""
    rnn = bptt.RNN(1, 256, 1, seed=0, threads=threads)
    x = rng.normal(size=(1_500_000, 4, 1)).astype(np.float32)
    assert ends_within(1, lambda: seconds_until_interrupt(lambda: rnn.forward(x, tape=False), 0.3))
    with pytest.raises(RuntimeError, match="forward"):
        rnn.backward(None)  # what was interrupted left nothing to go back over


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_ends_a_script():
    script = """
        import numpy as np, bptt
        x = np.ones((3000, 4, 8), np.float32)
        print("ready", flush=True)
        bptt.fit(bptt.RNN(8, 64, 8), x, x, epochs=10**6, truncation=bptt.TBPTT(30), progress=False)
    """

    def seconds_until_end():
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)  # fmt: skip
        with process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            began = time.perf_counter()
            _, errors = process.communicate(timeout=120)
        assert "KeyboardInterrupt" in errors
        assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT, 1)
        return time.perf_counter() - began

    assert ends_within(1.5, seconds_until_end)


def test_loss_of_an_epoch_is_over_what_counts(rng):
    """Padded sequences of several lengths: the epoch's loss is the mean over the valid steps, whatever the windows."""
    x, target = delayed_sum(rng, T=30, N=6)
    mask = np.arange(30)[:, None] < np.array([30, 3, 12, 7, 25, 1])
    rnn = bptt.RNN(1, 4, 1, seed=0)
    y, _ = rnn.forward(x)
    expected = bptt.mse(y, target, mask=mask)[0]
    for truncation, batch_size in ((None, None), (bptt.TBPTT(10), 1), (bptt.TBPTT(7), 4)):
        history = bptt.fit(rnn, x, target, optimizer="sgd", lr=0, mask=mask, epochs=1, truncation=truncation,
                           batch_size=batch_size, validation=(x, target, mask), progress=False)  # fmt: skip
        assert history.loss[0] == pytest.approx(expected, rel=1e-5)
        assert history.val_loss[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_validation_knows_lengths(rng, batch_first, masked):
    """In two directions padding changes the outputs before it: a mask cannot stand in for lengths."""
    x, target = delayed_sum(rng, T=30, N=6)
    lengths = np.array([12, 30, 3, 7, 25, 1])
    mask = rng.random((30, 6)) < 0.8
    counts = (np.arange(30)[:, None] < lengths) & (mask if masked else True)
    rnn = bptt.RNN(1, 4, 1, bidirectional=True, seed=0)
    expected = bptt.mse(rnn.forward(x, lengths=lengths)[0], target, mask=counts)[0]
    without = bptt.mse(rnn.forward(x)[0], target, mask=counts)[0]
    rnn = bptt.RNN(1, 4, 1, bidirectional=True, seed=0, batch_first=batch_first)
    if batch_first:
        x, target, mask = (a.swapaxes(0, 1) for a in (x, target, mask))
    history = bptt.fit(rnn, x, target, optimizer="sgd", lr=0, epochs=1, progress=False,
                       validation=(x, target, mask if masked else None, lengths))  # fmt: skip
    assert history.val_loss[0] == pytest.approx(expected, rel=1e-5)
    assert abs(without - expected) > 1e-3 * expected


def test_bad_validation(rng):
    x, target = delayed_sum(rng, T=30, N=6)
    rnn = bptt.RNN(1, 4, 1, seed=0)
    for wrong, error, words in (
        (x, TypeError, "validation must be .x, target., .* got a ndarray"),
        ((x,), TypeError, "got a tuple of 1"),
        ((x, None), TypeError, "validation target must be an array of real numbers, got NoneType"),
        ((x, target, target), TypeError, "validation mask must be an array of booleans, got a float"),
        ((x, target, target > 0), ValueError, r"validation mask must have shape \(.*\), got \(.*, 1\)"),
        ((x, target, None, [31] * 6), ValueError, "validation lengths must be in 1..30, got 31..31"),
        ((x, target, None, [3]), ValueError, "validation lengths must have shape .B,. = .6,."),
        ((x, target[..., 0]), ValueError, r"validation target must have the last axes \(1,\) of target, got \(\)"),
    ):
        kept = rnn.params.copy()
        with pytest.raises(error, match=words):
            bptt.fit(rnn, x, target, validation=wrong, progress=False)
        np.testing.assert_array_equal(rnn.params, kept)
    with pytest.raises(ValueError, match="lengths goes with burn_in=0"):
        bptt.fit(rnn, x, target, validation=(x, target, None, [3] * 6), burn_in=2, progress=False)


def test_an_error_of_the_validation_says_so(rng):
    x, labels = rng.normal(size=(12, 4, 2)), rng.integers(0, 3, (12, 4))
    with pytest.raises(TypeError, match="labels") as caught:
        bptt.fit(bptt.RNN(2, 4, 3), x, labels, loss="cross_entropy", validation=(x, labels + 0.5), progress=False)
    assert caught.value.__notes__ == ["This came up in the validation."]


@pytest.mark.parametrize("given, got", [(None, "NoneType"), (bptt.RNN, "type"), (np.ones((3, 1, 1)), "ndarray")])
def test_what_is_no_network(given, got):
    with pytest.raises(TypeError, match=f"rnn must be a bptt.RNN, got {got}"):
        bptt.fit(given, np.ones((3, 1, 1)), np.ones((3, 1, 1)), progress=False)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array(0.5)], ids=repr)
def test_own_loss_returns_any_number(rng, value):
    x, target = delayed_sum(rng, N=4)
    history = bptt.fit(bptt.RNN(1, 4, 1), x, target, loss=lambda y, t: (value, y - t), epochs=1, progress=False)
    assert history.update_loss == [0.5]
    assert type(history.update_loss[0]) is float


@pytest.mark.parametrize("value", [None, np.ones(3), "0.5", 1j], ids=repr)
def test_own_loss_returns_no_number(rng, value):
    x, target = delayed_sum(rng, N=4)
    rnn = bptt.RNN(1, 4, 1, seed=0)
    kept = rnn.params.copy()
    with pytest.raises(TypeError, match=f"one number as the loss, got {re.escape(repr(value))}"):
        bptt.fit(rnn, x, target, loss=lambda y, t: (value, y - t), progress=False)
    np.testing.assert_array_equal(rnn.params, kept)


def test_errors_show_the_beginning_of_a_long_value(rng):
    x, target = delayed_sum(rng, N=4)
    for options in ({"loss": bptt.mse(x, target)}, {"epochs": x}, {"clip_norm": x}, {"shuffle": x}):
        with pytest.raises((TypeError, ValueError)) as caught:
            bptt.fit(bptt.RNN(1, 4, 1), x, target, progress=False, **options)
        text = str(caught.value)
        assert text.startswith(next(iter(options)))
        assert "array([[[" in text
        assert len(text) < 250
        assert "\n" not in text


def test_torch_s_names_of_networks_are_pointed_out():
    with pytest.raises(AttributeError, match=r"no attribute 'LSTM', use bptt.RNN\(..., cell='lstm'\)$"):
        bptt.LSTM  # noqa: B018


@pytest.mark.parametrize("batch_first", [False, True])
def test_burn_in_does_not_count(rng, batch_first):
    """Neither in the loss of an epoch nor in that of the validation."""
    x, target = delayed_sum(rng, T=30, N=6)
    mask = rng.random((30, 6)) < 0.8
    rnn = bptt.RNN(1, 4, 1, seed=0)
    expected = bptt.mse(rnn.forward(x)[0][12:], target[12:], mask=mask[12:])[0]
    rnn = bptt.RNN(1, 4, 1, seed=0, batch_first=batch_first)
    if batch_first:
        x, target, mask = (a.swapaxes(0, 1) for a in (x, target, mask))
    for truncation in (None, bptt.TBPTT(5)):
        history = bptt.fit(rnn, x, target, optimizer="sgd", lr=0, mask=mask, epochs=1, truncation=truncation,
                           burn_in=12, validation=(x, target, mask), progress=False)  # fmt: skip
        assert len(history.update_loss) == (1 if truncation is None else 4)
        assert history.loss[0] == pytest.approx(expected, rel=1e-5)
        assert history.val_loss[0] == pytest.approx(expected, rel=1e-5)


def test_ignored_labels_do_not_count(rng):
    x = rng.normal(size=(12, 4, 2))
    labels = rng.integers(0, 3, (12, 4))
    labels[5:, 1:] = -100
    rnn = bptt.RNN(2, 4, 3, seed=0, dtype="float64")
    expected = bptt.cross_entropy(rnn.forward(x)[0], labels)[0]
    history = bptt.fit(rnn, x, labels, loss="cross_entropy", optimizer="sgd", lr=0, epochs=1,
                       truncation=bptt.TBPTT(4), batch_size=1, progress=False)  # fmt: skip
    assert history.loss[0] == pytest.approx(expected, rel=1e-12)


def test_a_gradient_that_is_not_finite_ends_the_training(rng):
    x, target = delayed_sum(rng, N=4)
    target[7, 2] = np.nan
    rnn = bptt.RNN(1, 4, 1, seed=0)
    kept = rnn.params.copy()
    with pytest.raises(FloatingPointError, match="update 1 is nan: x or target holds NaN"):
        bptt.fit(rnn, x, target, progress=False)
    np.testing.assert_array_equal(rnn.params, kept)


@pytest.mark.skipif("BPTT_SANITIZE" in os.environ, reason="instrumented code is too slow for its second")
def test_ctrl_c_stops_a_call_of_slow_steps(rng):
    """A chunk of this network's steps takes about a second."""
    rnn = bptt.RNN(1, 4096, 1, init=lambda name, shape, rng: np.zeros(shape, np.float32))
    x = np.zeros((3000, 1, 1), np.float32)
    assert seconds_until_interrupt(lambda: rnn.forward(x, tape=False), 0.8) < 1
