"""Trainings that go on where they were: fit(resume=), save_training, load_training."""

import doctest
import importlib
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections import OrderedDict
from dataclasses import asdict
from functools import partial

import kill_training
import numpy as np
import pytest
import safetensors.numpy
from test_optim import interrupts

import bptt

T, B = 12, 10


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


def sequences(seed=0, T=T, N=B):
    x = np.random.default_rng(seed).normal(size=(T, N, 2)).astype(np.float32)
    return x, np.roll(x, 1, axis=0)


def error(y, target):
    return np.abs(y - target).mean()


KINDS = {
    "tanh": ({}, lambda: {"lr": bptt.schedule.cosine(0.02, 3, 40), "patience": 3, "batch_size": 4}),
    "dropout": (
        {"cell": "lstm", "num_layers": 2, "dropout": 0.3, "recurrent_dropout": 0.2},
        lambda: {"truncation": bptt.TBPTT(4, 7), "batch_size": 3, "metrics": error, "patience": 2},
    ),
    "random windows": (
        {"cell": "gru"},
        lambda: {"truncation": bptt.ARTBP(3, seed=4), "optimizer": "rmsprop", "batch_size": 3, "accumulate": 4},
    ),
    "without shuffling": ({}, lambda: {"shuffle": False, "optimizer": "sgd", "batch_size": 5, "seed": None}),
    "Adagrad, clipped values": ({"learn_state": True}, lambda: {"optimizer": "adagrad", "clip_value": 0.1, "lr": 0.05}),
    "patience that ends": ({}, lambda: {"patience": 2, "min_delta": 0.3, "batch_size": 5}),
    "an object": ({}, lambda: {"optimizer": partial(bptt.Adam, lr=0.01, decoupled=True, weight_decay=0.1)}),
}
SAVE_EVERY = {"dropout": 1, "random windows": 2}


def train(kind, path=None, *, rnn=None, **more):
    options, arguments = KINDS[kind]
    rnn = rnn or bptt.RNN(2, 5, 2, seed=1, **options)
    given = {"epochs": 4, "seed": 2, "validation": sequences(1), "progress": False} | arguments()
    if isinstance(given.get("optimizer"), partial):
        given["optimizer"] = given["optimizer"](rnn.params, rnn.grads)
    if path is not None:
        given |= {"resume": path, "save_every": SAVE_EVERY.get(kind)}
    return rnn, bptt.fit(rnn, *sequences(), **given | more)


def assert_same(one, other):
    """Parameters, dropout and history to the bit."""
    for (rnn, history), (expected_rnn, expected) in [(one, other)]:
        assert rnn.params.tobytes() == expected_rnn.params.tobytes()
        assert rnn.dropout_state == expected_rnn.dropout_state
        a, b = asdict(history), asdict(expected)
        assert len(a.pop("seconds")) == len(b.pop("seconds"))
        assert repr(a) == repr(b)  # NaN too


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_changes_nothing(kind, path):
    expected = train(kind)
    assert_same(train(kind, path), expected)
    before = path.read_bytes()
    assert_same(train(kind, path, rnn=bptt.RNN(2, 5, 2, seed=9, **KINDS[kind][0])), expected)  # it had ended
    assert len(path.read_bytes()) == len(before)


@pytest.mark.parametrize("kind, stop", [*((kind, KeyboardInterrupt) for kind in KINDS), ("tanh", SystemExit)])
def test_interrupted_at_every_update(kind, stop, path):
    """Ctrl-C after update 0, then after update 1, ..: what is written leads on to the same bits."""
    expected = train(kind)
    updates = len(expected[1].update_loss)

    def run(last, **more):
        def on_update(update, history):
            if update == last:
                raise stop

        return train(kind, path, on_update=on_update, **more)

    for last in range(updates):
        with pytest.raises(stop):
            run(last, rnn=bptt.RNN(2, 5, 2, seed=last + 1, **KINDS[kind][0]))
    assert_same(run(-1), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_at_instructions_of_python(kind, path):
    """Ctrl-C at every so many instructions of fit and of writing: the next run goes on."""
    expected = train(kind)

    def reached():
        return len(bptt.load_training(path, *objects_of(kind))["history"]["update_loss"])

    count = 0
    for _ in interrupts(lambda: train(kind, path), first=500, stride=2999):
        count += 1
        if path.exists():
            assert reached() >= 0
        if count == 12:
            break
    assert count > 7
    assert_same(train(kind, path), expected)


def objects_of(kind):
    """A network and an optimiser of the kind that fit uses."""
    options, arguments = KINDS[kind]
    rnn, optimizer = bptt.RNN(2, 5, 2, **options), arguments().get("optimizer", "adam")
    classes = {"adam": bptt.Adam, "sgd": bptt.SGD, "rmsprop": bptt.RMSprop, "adagrad": bptt.Adagrad}
    return rnn, classes.get(optimizer, optimizer)(rnn.params, rnn.grads)


@pytest.mark.parametrize("kind", ["dropout", "patience that ends"])
def test_interrupted_in_callback_and_validation(kind, path):
    expected = train(kind)
    rng = np.random.default_rng(0)

    def now_and_then(epoch, history):
        if rng.random() < 0.5:
            raise KeyboardInterrupt

    class Interrupted(bptt.RNN):
        def forward(self, x, *arguments, tape=True, **options):
            if not tape and rng.random() < 0.2:
                raise KeyboardInterrupt
            return super().forward(x, *arguments, tape=tape, **options)

    for attempt in range(1, 100):
        try:
            rnn = Interrupted(2, 5, 2, seed=attempt, **KINDS[kind][0])
            assert_same(train(kind, path, rnn=rnn, callback=now_and_then), expected)
            break
        except KeyboardInterrupt:
            continue
    assert 2 < attempt < 99


@pytest.mark.parametrize("ended", ["patience", "callback", "on_update"])
def test_what_ended_stays_ended(ended, path):
    """More epochs do not begin it anew."""
    options = {"patience": {"patience": 1, "min_delta": 100}, "callback": {"callback": lambda epoch, _: epoch == 1},
               "on_update": {"on_update": lambda update, _: update == 4}}[ended]  # fmt: skip
    first = train("without shuffling", path, **options)
    assert first[1].stopped == ended
    options = options if ended == "patience" else {}
    assert_same(train("without shuffling", path, epochs=9, **options), first)


def test_more_epochs_go_on(path):
    assert_same((train("tanh", path, epochs=2), train("tanh", path, epochs=3), train("tanh", path))[2], train("tanh"))
    with pytest.raises(ValueError, match=r"epochs must be at least the 4 that are done, got 2"):
        train("tanh", path, epochs=2)


def test_without_a_seed_the_file_has_the_order(path):
    """And the cuts of an ARTBP that drew its own key; a Generator goes on where it was."""
    options = {"truncation": lambda: bptt.ARTBP(3, seed=None), "seed": lambda: np.random.default_rng()}
    for name, make in options.items():
        folder = path.parent / name
        folder.mkdir()
        file, copy = folder / "a", folder / "b"
        train("tanh", file, epochs=1, **{name: make()})
        copy.write_bytes(file.read_bytes())
        assert_same(train("tanh", file, **{name: make()}), train("tanh", copy, **{name: make()}))


def test_the_rate_of_a_callback_is_kept(path):
    def run(path, stop=None):
        rnn = bptt.RNN(2, 5, 2, seed=1)
        optimizer = bptt.Adam(rnn.params, rnn.grads, lr=0.1)

        def callback(epoch, history):
            optimizer.lr /= 2
            if epoch == stop:
                raise KeyboardInterrupt  # before the epoch's end is written: it comes again, from the old rate

        return train("tanh", path, rnn=rnn, optimizer=optimizer, lr=None, callback=callback)

    expected = run(None)
    assert expected[1].lr[::3] == [0.1, 0.05, 0.025, 0.0125]
    with pytest.raises(KeyboardInterrupt):
        run(path, 1)
    assert_same(run(path), expected)


def test_an_error_leaves_the_last_epoch_in_the_file(path):
    def broken(epoch, history):
        if epoch == 2:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        train("tanh", path, callback=broken)
    assert bptt.load_training(path, *objects_of("tanh"))["epoch"] == 2
    assert_same(train("tanh", path), train("tanh"))


def test_save_every(path):
    """Within an epoch, at the end of a minibatch."""
    seen = []

    def on_update(update, history):
        more = bptt.load_training(path, *objects_of("tanh"))
        seen.append((more["epoch"], more["minibatch"]))

    train("tanh", path, epochs=2, on_update=on_update, save_every=2, batch_size=2)
    assert seen == [(0, 0), (0, 0), (0, 2), (0, 2), (0, 4), (1, 0), (1, 0), (1, 2), (1, 2), (1, 4)]


def test_the_bar_goes_on(path, capsys):
    train("tanh", path, epochs=2)
    train("tanh", path, epochs=4, progress=True)
    shown = re.findall(r"epoch (./4) \|(.*?)\|", capsys.readouterr().err)
    assert [(epoch, len(bar.rstrip())) for epoch, bar in (shown[0], shown[-1])] == [("3/4", 5), ("4/4", 10)]


@pytest.mark.parametrize("module", ["_fit", "_training_file", "schedule"])
def test_examples_of_the_docstrings(module):
    failed, attempted = doctest.testmod(importlib.import_module(f"bptt.{module}"))
    assert (failed, attempted > 2) == (0, True)


# ---- files of something else -------------------------------------------------------------------------------

OTHERS = {
    "another network": ({"hidden_size": 6}, {}, ["another network: hidden_size=5", "hidden_size=6"]),
    "another cell": ({"cell": "gru", "dropout": 0.5}, {}, ["cell='tanh'", "cell='gru'", "dropout=0.0"]),
    "another optimiser": ({}, {"optimizer": "sgd"}, ["Adam(betas=", "SGD(momentum"]),
    "another hyperparameter": (
        {}, {"lr": None, "optimizer": lambda rnn: bptt.Adam(rnn.params, rnn.grads, eps=0.5)}, ["eps=1e-08", "eps=0.5"]),
    "another rate": ({}, {"lr": bptt.schedule.cosine(0.02, 3, 41)}, ["lr='cosine(", "total=40", "total=41"]),
    "a number as the rate": ({}, {"lr": 0.5}, ["lr='cosine(", "this one has lr=0.5"]),
    "another batch size": ({}, {"batch_size": 5}, ["batch_size=4", "batch_size=5"]),
    "another loss": ({}, {"loss": "binary_cross_entropy"}, ["mse", "binary_cross_entropy"]),
    "another truncation": ({}, {"truncation": bptt.TBPTT(5)}, ["truncation='None'", "TBPTT(k1=5, k2=5)"]),
    "another seed": ({}, {"seed": 3}, ["seed=2", "seed=3"]),
    "no seed": ({}, {"seed": None}, ["seed=2", "seed=None"]),
    "a Generator": ({}, {"seed": np.random.default_rng(2)}, ["seed=2", "seed='Generator'"]),
    "other clipping": ({}, {"clip_norm": None}, ["clip_norm=1.0", "clip_norm=inf"]),
    "other patience": ({}, {"patience": 4, "min_delta": 0.5}, ["patience=3, min_delta=0.0", "patience=4"]),
    "other metrics": ({}, {"metrics": [error]}, ["metrics={}", "test_resume.error"]),
    "other validation": ({}, {"validation": sequences(1, N=3)}, ["validation={", "12, 3, 2]"]),
    "no validation": ({}, {"validation": None}, ["validation={", "validation=None"]),
    "a mask": ({}, {"mask": np.ones((T, B), bool)}, ["mask=None", "mask=['bool', 12, 10]"]),
    "another burn-in": ({}, {"burn_in": 1}, ["burn_in=0", "burn_in=1"]),
    "no shuffling": ({}, {"shuffle": False}, ["shuffle=True", "shuffle=False"]),
    "accumulation": ({}, {"accumulate": 2}, ["accumulate=1", "accumulate=2"]),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_another_training(name, path):
    options, arguments, words = OTHERS[name]
    train("tanh", path, epochs=1)
    before = path.read_bytes()
    rnn = bptt.RNN(**{"input_size": 2, "hidden_size": 5, "output_size": 2, "seed": 3, **options})
    if callable(arguments.get("optimizer")):
        arguments = arguments | {"optimizer": arguments["optimizer"](rnn)}
    kept = rnn.params.copy(), rnn.dropout_state
    with pytest.raises(ValueError) as caught:
        train("tanh", path, rnn=rnn, **arguments)
    for word in [*words, str(path)]:
        assert word in str(caught.value)
    np.testing.assert_array_equal(rnn.params, kept[0])
    assert rnn.dropout_state == kept[1]
    assert path.read_bytes() == before


def test_other_data_of_the_same_shape_is_not_seen(path):
    train("tanh", path, epochs=1)
    x, target = sequences(7)
    rnn = bptt.RNN(2, 5, 2)
    history = bptt.fit(rnn, x, target, epochs=2, seed=2, validation=sequences(1), progress=False, resume=path,
                       **KINDS["tanh"][1]())  # fmt: skip
    assert len(history.loss) == 2


@pytest.mark.parametrize("cut", [0, 7, 8, 100, 500, -1])
def test_a_file_cut_short(cut, path):
    train("tanh", path, epochs=1)
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    with pytest.raises(ValueError, match=r"^resume must name a training file that fits, got .*run.safetensors: "):
        train("tanh", path)
    with pytest.raises(ValueError, match=r"^path must .*not a whole safetensors file"):
        bptt.load_training(path, *objects_of("tanh"))
    assert path.read_bytes() == data[:cut]


def test_files_of_other_kinds(path):
    rnn, optimizer = objects_of("tanh")
    rnn.save(path)
    with pytest.raises(ValueError, match=r"it is a model file, which bptt.RNN.load reads"):
        train("tanh", path)
    bptt.save_training(path, rnn, optimizer)
    with pytest.raises(ValueError, match=r"it was written by save_training, bptt.load_training reads it"):
        train("tanh", path, lr=None)
    with pytest.raises(ValueError, match=r"it is a training file, which bptt.load_training reads"):
        bptt.RNN.load(path)
    safetensors.numpy.save_file({"a": np.ones(3)}, path, {"other": "x"})
    with pytest.raises(ValueError, match="it is not written by bptt"):
        train("tanh", path)
    path.write_text("hello, this is text")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        train("tanh", path)


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_link_to_a_file_that_is_not_there_yet(path):
    path.symlink_to("later")
    train("tanh", path, epochs=2)
    assert path.is_symlink()
    assert_same(train("tanh", path), train("tanh"))


def test_a_path_that_cannot_be_written_is_an_error_before_the_training(tmp_path):
    rnn = bptt.RNN(2, 5, 2, seed=1)
    kept = rnn.params.copy()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        train("tanh", tmp_path / "nowhere" / "run", rnn=rnn)
    with pytest.raises(PermissionError if os.name == "nt" else IsADirectoryError):
        train("tanh", tmp_path, rnn=rnn)
    np.testing.assert_array_equal(rnn.params, kept)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.skipif("BPTT_SANITIZE" in os.environ, reason="its time is that of the plain build")
@pytest.mark.parametrize("kills", ["8", pytest.param("400", marks=pytest.mark.slow)])
def test_killed_at_random_moments(kills):
    command = [sys.executable, kill_training.__file__, kills, "3"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    assert "kills: all bits the same" in result.stdout


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_in_a_long_call_is_written(path):
    """The state before the minibatch that was under way."""
    script = """
import sys, numpy as np, bptt
x = np.ones((4000, 4, 8), np.float32)
rnn = bptt.RNN(8, 64, 8, seed=0)
bptt.fit(rnn, x, x, epochs=10**6, batch_size=1, progress=False, resume=sys.argv[1], seed=0,
         on_update=lambda update, _: update == 6 and print("ready", flush=True))
"""
    process = subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)  # fmt: skip
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert "KeyboardInterrupt" in errors
    rnn = bptt.RNN(8, 64, 8)
    more = bptt.load_training(path, rnn, bptt.Adam(rnn.params, rnn.grads))
    assert 4 * more["epoch"] + more["minibatch"] == len(more["history"]["update_loss"]) >= 6


# ---- loops written by hand ---------------------------------------------------------------------------------

VALUES = {
    "none": None, "flags": [True, False], "numbers": [1, -3, 2**100, 0.1, 5e-324, -0.0, 1e308],
    "no numbers": [math.inf, -math.inf], "text": "a\n\"b\" ü \ud800", "nothing": [{}, [], (), ""],
    "nested": {"a": [1, {"b": (2, [3.5])}], "array": "no array", "": {"dict": 1}}, "pair": (3, 4),
    "scalars": [np.float32(0.1), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True), np.float16(2)],
    "ordered": OrderedDict(b=1, a=2),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values_come_back(name, path):
    rnn = bptt.RNN(1, 2)
    bptt.save_training(path, rnn, value=VALUES[name], other=1)
    more = bptt.load_training(path, rnn)
    assert list(more) == ["value", "other"]
    assert repr(more["value"]) == repr(dict(VALUES[name]) if name == "ordered" else VALUES[name])


def test_not_a_number_comes_back(path):
    rnn = bptt.RNN(1, 2)
    bptt.save_training(path, rnn, value=[math.nan, {"a": np.float64("nan")}])
    value = bptt.load_training(path, rnn)["value"]
    assert math.isnan(value[0])
    assert type(value[1]["a"]) is np.float64


@pytest.mark.parametrize("array", [
    np.arange(6.0).reshape(2, 3).T, np.arange(3, dtype=">i2"), np.array(5.0), np.ones((0, 3), np.float16),
    np.array([True, False]), np.arange(8, dtype=np.uint64)[::-2], np.array([np.nan, -0.0, np.inf], np.float32),
], ids=lambda a: f"{a.dtype}{a.shape}")  # fmt: skip
def test_arrays_come_back(array, path):
    rnn = bptt.RNN(1, 2)
    bptt.save_training(path, rnn, value={"a": [array, array]})
    for again in bptt.load_training(path, rnn)["value"]["a"]:
        assert again.dtype == array.dtype.newbyteorder("=")
        assert again.shape == array.shape
        np.testing.assert_array_equal(again, array)
        again[...] = 0  # of its own, and writable


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_generators_come_back(kind, path):
    rng = np.random.Generator(getattr(np.random, kind)(5))
    rng.random(3, np.float32)  # half of a word is left
    rnn = bptt.RNN(1, 2)
    bptt.save_training(path, rnn, rng=rng)
    again = bptt.load_training(path, rnn)["rng"]
    np.testing.assert_array_equal(again.random(9, np.float32), rng.random(9, np.float32))
    np.testing.assert_array_equal(again.permutation(99), rng.permutation(99))


def loop(path, stop=10**9):
    """A training of one's own with everything that a loop may have."""
    rng = np.random.default_rng(3)
    rnns = [bptt.RNN(2, 4, 3, cell="lstm", dropout=0.5, num_layers=2, seed=1), bptt.RNN(3, 4, 2, seed=2)]
    optimizers = [bptt.Adam(rnn.params, rnn.grads, lr=0.01) for rnn in rnns]
    truncation = bptt.ARTBP(4, seed=6)
    epoch, losses = 0, []
    if path is not None and path.exists():
        more = bptt.load_training(path, rnns, optimizers)
        epoch, losses, rng, truncation.state = more["epoch"], more["losses"], more["rng"], more["cuts"]
    while epoch < 6:
        x = rng.normal(size=(T, 3, 2))
        for w in rnns[0].windows(x, np.zeros((T, 3, 3)), truncation=truncation):
            rnns[1].zero_grad()
            y, _ = rnns[1].forward(w.y)
            loss, dy = bptt.mse(y, x[w.start : w.stop])
            rnns[1].backward(dy)
            for optimizer in optimizers:
                optimizer.step()
            losses.append(loss)
        epoch += 1
        optimizers[0].lr *= 0.9
        if path is not None:
            bptt.save_training(path, rnns, optimizers, epoch=epoch, losses=losses, rng=rng, cuts=truncation.state)
        if epoch == stop:
            return None
    return [rnn.params.tobytes() for rnn in rnns], losses, [one.lr for one in optimizers]


def test_a_loop_goes_on_to_the_bit(path):
    expected = loop(None)
    for stop in range(1, 6):
        loop(path, stop)
    assert loop(path) == expected


def test_objects_with_a_state_of_their_own(path):
    """Another library's optimiser; its state is copied, and none at all is one too."""

    class Foreign:
        def __init__(self):
            self.state = {"moments": np.zeros(3), "count": 0}

        def state_dict(self):
            return self.state

        def load_state_dict(self, state):
            self.state = state

    rnn, one = bptt.RNN(1, 2), Foreign()
    one.state["count"] = 5
    bptt.save_training(path, rnn, one)
    other = Foreign()
    assert bptt.load_training(path, rnn, [other]) == {}
    assert other.state["count"] == 5
    with pytest.raises(ValueError, match=r"it holds the optimisers \[Foreign\], optimizer is \[\]"):
        bptt.load_training(path, rnn)


def test_nothing_is_changed_by_a_file_that_does_not_fit(path):
    rnn, other = bptt.RNN(1, 2, seed=0), bptt.RNN(1, 3, seed=1)
    adam, sgd = bptt.Adam(rnn.params, rnn.grads), bptt.SGD(rnn.params, rnn.grads)
    bptt.save_training(path, rnn, adam)
    kept = other.params.copy(), rnn.params.copy()
    for objects, words in (
        ((other, adam), "hidden_size=2; this one has hidden_size=3"), ((rnn, sgd), r"\[Adam\(.*optimizer is \[SGD\("),
        ((rnn, None), r"optimizer is \[\]"), (([rnn, other], adam), "it holds 1 networks, rnn has 2"),
        ((rnn, bptt.Adam(np.ones(3), np.ones(3))), r"state\['mean'\]"),
    ):  # fmt: skip
        rnn.params[:] = 7
        with pytest.raises(ValueError, match=words):
            bptt.load_training(path, *objects)
        assert (rnn.params == 7).all()
        np.testing.assert_array_equal(other.params, kept[0])
    bptt.load_training(path, rnn, adam)
    np.testing.assert_array_equal(rnn.params, kept[1])


@pytest.mark.parametrize("value, error, words", [
    (1j, TypeError, r"more\['a'\] must be None, a bool, .* got 1j"),
    ([{"b": {1}}], TypeError, r"more\['a'\]\[0\]\['b'\] must be None"),
    ({1: 2}, TypeError, r"more\['a'\] must have keys of text, got 1"),
    (np.array(["x"]), TypeError, r"more\['a'\] must be an array of real numbers or bools, got dtype <U1"),
    (np.ones(2, complex), TypeError, "got dtype complex128"),
    (np.ma.masked_array([1.0], [True]), TypeError, "got a masked array"),
    (np.random.RandomState(0), TypeError, r"more\['a'\] must be None, .* numpy Generator"),
    (bptt.RNN(1, 2), TypeError, r"more\['a'\] must be None, .* got RNN"),
    (np.zeros(2, [("f", "f4")]), TypeError, "got dtype"),
])  # fmt: skip
def test_values_that_a_file_does_not_hold(value, error, words, path):
    rnn = bptt.RNN(1, 2)
    bptt.save_training(path, rnn, a=1)
    before = path.read_bytes()
    with pytest.raises(error, match=words):
        bptt.save_training(path, rnn, a=value)
    assert path.read_bytes() == before


def test_values_that_hold_themselves_or_too_much(path):
    rnn, endless, deep = bptt.RNN(1, 2), [], []
    endless.append(endless)
    for _ in range(100_000):
        deep = [deep]
    for value, words in ((endless, "must not hold itself"), (deep, "must not be nested so deeply"),
                         ("x" * 2**25, "more must be below .* bytes of JSON, got .*: use arrays")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            bptt.save_training(path, rnn, a=value)
    assert not path.exists()


@pytest.mark.parametrize("call, error, words", [
    (lambda path, rnn: bptt.save_training(path, None), TypeError, "rnn must be a bptt.RNN or a list of them, got None"),
    (lambda path, rnn: bptt.save_training(path, rnn, 5), TypeError, "optimizer must have state_dict.* got 5"),
    (lambda path, rnn: bptt.save_training(path, rnn, bptt.Adam), TypeError, "optimizer must have state_dict.*Adam"),
    (lambda path, rnn: bptt.save_training(5, rnn), TypeError, "path must be a str or path-like, got 5"),
    (lambda path, rnn: bptt.load_training(path, rnn), FileNotFoundError, "run.safetensors"),
])  # fmt: skip
def test_bad_arguments(call, error, words, path):
    with pytest.raises(error, match=words):
        call(path, bptt.RNN(1, 2))
    assert not path.exists()


def test_fields_of_a_training_file_are_checked(path):
    """Anything that a hostile or a damaged tree may hold is a ValueError."""
    rnn, optimizer = objects_of("tanh")
    train("tanh", path, epochs=2)
    with safetensors.safe_open(path, "numpy") as file:
        tree, arrays = json.loads(file.metadata()["bptt_training"]), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118

    def places(value, *way):
        yield way
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in items:
            yield from places(item, *way, key)

    ways = [way for way in places(tree) if way]
    assert len(ways) > 100
    failed = 0
    rng = np.random.default_rng(0)
    for way in [ways[i] for i in rng.permutation(len(ways))[:50]]:
        for value in (None, -1, {"dict": {}}, {"array": "x"}, {"generator": {"dict": {}}}, [[]]):
            changed = json.loads(json.dumps(tree))
            within = changed
            for key in way[:-1]:
                within = within[key]
            within[way[-1]] = value
            path.write_bytes(safetensors.numpy.save(arrays, {"bptt_training": json.dumps(changed)}))
            failed += refused(lambda: train("tanh", path, rnn=rnn, epochs=2), str(path))
    assert failed > 150


def refused(call, name):
    """Whether the call raises a ValueError that names the file; no other error comes."""
    try:
        call()
    except ValueError as error:
        return name in str(error)
    return False
