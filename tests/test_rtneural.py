"""RTNeural's JSON files, written and read, beside a reader in NumPy made from the description of the format."""

import json
import re

import numpy as np
import pytest
from cases import case_id, covering

import bptt
from bptt.convert import from_rtneural, to_rtneural

CASES = covering({
    "cell": ["lstm", "gru"], "input_size": [1, 3], "hidden_size": [7, 1], "output_size": [1, None, 4],
    "num_layers": [1, 3], "bias": [True, False], "dtype": ["float32", "float64"],
})  # fmt: skip
NULL = None  # of JSON


def drawn(scale=1.5, **options):
    rnn = bptt.RNN(**options, seed=5, threads=1)
    rnn.params *= scale
    return rnn


# ---- the reader ------------------------------------------------------------------------------------------


def logistic(z):
    return 1 / (1 + np.exp(-z))


def lstm(sequence, kernel, recurrent, bias):
    """Columns of the gates i, f, c, o."""
    h = c = np.zeros(len(recurrent))
    outputs = []
    for x in sequence:
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
        c = logistic(f) * c + logistic(i) * np.tanh(g)
        h = logistic(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs)


def gru(sequence, kernel, recurrent, biases):
    """Columns of the gates z, r, h; the reset gate acts behind the recurrent product and its bias."""
    h = np.zeros(len(recurrent))
    outputs = []
    for x in sequence:
        xz, xr, xn = np.split(x @ kernel + biases[0], 3)
        hz, hr, hn = np.split(h @ recurrent + biases[1], 3)
        z, r = logistic(xz + hz), logistic(xr + hr)
        h = z * h + (1 - z) * np.tanh(xn + r * hn)
        outputs.append(h)
    return np.stack(outputs)


def dense(sequence, weight, bias):
    return sequence @ weight + bias


def play(file, sequence):
    """The outputs of a file for a sequence (T,I), in float64."""
    assert file["in_shape"] == [NULL, NULL, sequence.shape[1]]
    for layer in file["layers"]:
        assert layer["activation"] == ("" if layer["type"] == "dense" else "tanh")
        weights = [np.array(array, float) for array in layer["weights"]]
        sequence = {"lstm": lstm, "gru": gru, "dense": dense}[layer["type"]](sequence, *weights)
        assert layer["shape"] == [NULL, NULL, sequence.shape[1]]
    return sequence


# ---- files and networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_written_and_read(case, tmp_path):
    rnn, path = drawn(**case), tmp_path / "net.json"
    x = np.random.default_rng(1).normal(size=(50, rnn.input_size)).astype(rnn.dtype)
    y, _ = rnn.forward(x)
    assert to_rtneural(rnn, path) is None
    np.testing.assert_allclose(play(json.loads(path.read_text()), x), y, rtol=0, atol=2e-6 * abs(y).max())
    again = from_rtneural(path, dtype=rnn.dtype, threads=1)
    assert again.spec == bptt.RNN(**case | {"bias": True}).spec
    check_same_network(again, rnn, x, y)
    to_rtneural(again, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def check_same_network(again, rnn, x, y):
    """What was read from a file has the weights of what was written, and its outputs, y, for x; biases are joined."""
    stream = again.stream()
    np.testing.assert_allclose([stream(row) for row in x], y, rtol=0, atol=2e-6 * abs(y).max())
    for name, array in again.state_dict().items():
        if "bias" not in name:
            np.testing.assert_array_equal(array, rnn.state_dict()[name])


def test_biases_of_a_gru_to_the_bit(tmp_path):
    rnn = drawn(input_size=2, hidden_size=5, output_size=3, cell="gru", num_layers=2)
    to_rtneural(rnn, tmp_path / "net.json")
    np.testing.assert_array_equal(from_rtneural(tmp_path / "net.json").params, rnn.params)


def good_file(**fields):
    """A whole file as other programs write it: empty activations, a dense layer of Keras' TimeDistributed."""
    rng = np.random.default_rng(2)

    def layer(kind, size, *shapes):
        weights = [rng.uniform(-1, 1, shape).tolist() for shape in shapes]
        return {"type": kind, "activation": "", "shape": [NULL, NULL, size], "weights": weights}

    layers = [layer("gru", 3, (2, 9), (3, 9), (2, 9)), layer("gru", 3, (3, 9), (3, 9), (2, 9))]
    layers.append(layer("time-distributed-dense", 1, (3, 1), (1,)))
    return {"in_shape": [NULL, NULL, 2], "layers": layers, "maker": {"unknown": [1]}, **fields}


def test_a_file_of_another_program(tmp_path):
    file, path = good_file(), tmp_path / "net.json"
    path.write_text(json.dumps(file, indent=4))
    x = np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
    expected = x.astype(float)
    for layer in file["layers"]:
        expected = (dense if "dense" in layer["type"] else gru)(expected, *(np.array(w) for w in layer["weights"]))
    y, _ = from_rtneural(path).forward(x)
    np.testing.assert_allclose(y, expected, atol=1e-6)
    y, _ = from_rtneural(path, batch_first=True, dtype="float64").forward(x[None])
    np.testing.assert_allclose(y[0], expected, atol=1e-12)
    del file["layers"][-1]["weights"][1]  # of Keras' Dense(use_bias=False)
    path.write_text(json.dumps(file))
    shifted, _ = from_rtneural(path, dtype="float64").forward(x)
    np.testing.assert_allclose(shifted, expected - expected[0] + shifted[0], atol=1e-12)
    assert abs(shifted - expected).max() > 1e-3


def test_fields(tmp_path):
    rnn, path = drawn(input_size=1, hidden_size=4, output_size=1, cell="lstm"), tmp_path / "net.json"
    fields = {
        "in_skip": 1,
        "in_gain": -3.5,
        "out_gain": 0.25,
        "samplerate": 48000,
        "metadata": {"name": "ü", "esr": 0.01},
    }
    to_rtneural(rnn, path, **fields)
    file = json.loads(path.read_text())
    assert {name: file[name] for name in fields} == fields
    again, found = from_rtneural(path, with_fields=True)
    assert found == fields
    assert again.spec == rnn.spec
    for name in ("in_skip", "in_gain", "out_gain"):
        to_rtneural(rnn, path, **{name: fields[name]})
        with pytest.raises(ValueError, match=f"{name} is {fields[name]}.*with_fields=True"):
            from_rtneural(path)
    to_rtneural(rnn, path, in_skip=True)
    assert '"in_skip": 1}' in path.read_text()
    to_rtneural(rnn, path, in_skip=np.int64(0), in_gain=0, samplerate=44100.0)
    assert '"samplerate": 44100}' in path.read_text()
    assert from_rtneural(path, with_fields=True)[1] == {"in_skip": 0, "in_gain": 0, "samplerate": 44100}
    assert {*json.loads(path.read_text())} == {"in_shape", "layers", "in_skip", "in_gain", "samplerate"}
    passed_over = {"in_skip": NULL, "in_gain": "3", "out_gain": True, "samplerate": "48000", "metadata": [1]}
    path.write_text(json.dumps(good_file(**passed_over)))
    assert from_rtneural(path, with_fields=True)[1] == {}


# ---- what is refused -------------------------------------------------------------------------------------

REFUSED = {
    "vanilla": ({"cell": "tanh"}, "cell='tanh'"),
    "relu": ({"cell": "relu"}, "cell='relu'"),
    "reset before": ({"cell": "gru", "reset_after": False}, "reset_after=False"),
    "peepholes": ({"cell": "lstm", "peepholes": True}, "peepholes=True"),
    "two directions": ({"cell": "lstm", "bidirectional": True}, "bidirectional=True"),
    "learned state": ({"cell": "gru", "learn_state": True}, "learn_state=True"),
    "one-hot": ({"cell": "lstm", "one_hot": True}, "one_hot=True"),
    "embedding": ({"cell": "lstm", "num_embeddings": 9}, "num_embeddings"),
    "two": ({"cell": "gru", "bidirectional": True, "one_hot": True}, "bidirectional=True and one_hot=True"),
}


@pytest.mark.parametrize("options, words", REFUSED.values(), ids=REFUSED)
def test_networks_that_it_cannot_hold(options, words, tmp_path):
    path = tmp_path / "net.json"
    path.write_text("what was there")
    with pytest.raises(ValueError, match=f"RTNeural has no counterpart of {words}$"):
        to_rtneural(bptt.RNN(2, 3, 1, **options), path)
    assert path.read_text() == "what was there"


ARGUMENTS = {
    "in_skip 2": ({"in_skip": 2}, ValueError, "in_skip must be 0 or 1, got 2"),
    "in_skip text": ({"in_skip": "1"}, TypeError, "in_skip must be an integer, got '1'"),
    "gain NaN": ({"in_gain": np.nan}, ValueError, "in_gain must be a finite number, got nan"),
    "gain text": ({"out_gain": "loud"}, TypeError, "out_gain must be a number, got 'loud'"),
    "rate zero": ({"samplerate": 0}, ValueError, "samplerate must be above 0, got 0"),
    "rate Inf": ({"samplerate": np.inf}, ValueError, "samplerate must be a finite number, got inf"),
    "metadata a list": ({"metadata": [1]}, TypeError, r"metadata must be a dict, got \[1\]"),
    "metadata of NaN": ({"metadata": {"esr": np.nan}}, ValueError, "metadata must hold what JSON can"),
    "metadata of arrays": ({"metadata": {"a": np.ones(2)}}, TypeError, "metadata must hold what JSON can"),
    "metadata of numbers": ({"metadata": {1: 2, "1": 3}}, ValueError, "metadata must hold what JSON can.*key twice"),
    "unknown": ({"sample_rate": 44100}, TypeError, "sample_rate"),
}


@pytest.mark.parametrize("fields, error, words", ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments(fields, error, words, tmp_path):
    with pytest.raises(error, match=words):
        to_rtneural(bptt.RNN(1, 3, 1, cell="lstm"), tmp_path / "net.json", **fields)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_parameters_that_are_not_finite(value, tmp_path):
    """In float32, which readers take."""
    rnn = bptt.RNN(1, 3, 1, cell="lstm", dtype="float64")
    rnn.param_views()["bias_o"][0] = value
    with pytest.raises(ValueError, match=re.escape(f"must be finite in float32, got {value} in bias_o at [0]")):
        to_rtneural(rnn, tmp_path / "net.json")
    assert not [*tmp_path.iterdir()]


def edited(edit):
    """The good file after an edit of its objects, as text."""
    file = good_file()
    edit(file)
    return json.dumps(file)


def layer(index, **values):
    """An edit of a layer's entries; None deletes one."""

    def edit(file):
        for name, value in values.items():
            file["layers"][index][name] = value
            if value is None:
                del file["layers"][index][name]

    return edit


def weight(index, place, *where):
    """An edit that puts `place(the old value)` into a layer's weights."""

    def edit(file):
        inside = file["layers"][index]["weights"]
        for step in where[:-1]:
            inside = inside[step]
        inside[where[-1]] = place(inside[where[-1]])

    return edit


CONV = {
    "type": "conv1d",
    "activation": "",
    "shape": [NULL, NULL, 2],
    "weights": [],
    "kernel_size": [3],
    "dilation": [1],
}
LSTM = {
    "type": "lstm",
    "activation": "",
    "shape": [NULL, NULL, 3],
    "weights": [[[0] * 12] * 3, [[0] * 12] * 3, [0] * 12],
}
BAD_FILES = {  # {name: (text or an edit of the good file, words)}
    "empty": ("", "RTNeural JSON file, got .*Expecting value"),
    "no JSON": ('{"in_shape": [1', "RTNeural JSON file"),
    "not UTF-8": (b'{"\xff"}', "RTNeural JSON file.*utf-8"),
    "a list": ("[]", "must be an object"),
    "NaN": ('{"in_gain": NaN}', "its JSON has NaN"),
    "a key twice": ('{"in_shape": [], "in_shape": []}', "key twice"),
    "nested deeply": ("[" * 100_000, "RTNeural JSON file"),
    "no input shape": (lambda f: f.pop("in_shape"), "in_shape must be a list, got nothing"),
    "input shape a number": (lambda f: f.update(in_shape=2), "in_shape must be a list, got 2"),
    "input shape empty": (lambda f: f.update(in_shape=[]), "in_shape must have at most 3 axes"),
    "input of an image": (lambda f: f.update(in_shape=[NULL, NULL, 2, 3]), "in_shape must have at most 3 axes"),
    "input size zero": (lambda f: f.update(in_shape=[NULL, 0]), r"in_shape\[1\] must be an integer of at least 1"),
    "input size true": (lambda f: f.update(in_shape=[True]), "must be an integer of at least 1, got True"),
    "input size huge": (lambda f: f.update(in_shape=[2**62]), f"must be a list of {2**62}, got 2"),
    "input size beyond": (lambda f: f.update(in_shape=[2**70]), "in_shape.*must be an integer"),
    "no layers": (lambda f: f.pop("layers"), "layers must be a list, got nothing"),
    "layers empty": (lambda f: f.update(layers=[]), "layers must have an lstm or gru"),
    "a layer a number": (lambda f: f["layers"].insert(0, 7), "layer 0 must be an object, got 7"),
    "no type": (layer(0, type=None), "layer 0: type must be a string, got nothing"),
    "convolution": (lambda f: f["layers"].insert(0, CONV), "only layers of the types lstm, gru and dense"),
    "a long name": (layer(2, type="x" * 9999), r"layer 2 \(x*\): only layers"),
    "prelu": (layer(2, type="prelu"), r"layer 2 \(prelu\): only layers"),
    "batchnorm": (layer(1, type="batchnorm"), r"layer 1 \(batchnorm\): only layers"),
    "activation layer": (layer(2, type="activation", activation="tanh"), r"layer 2 \(activation\): only layers"),
    "two cells": (lambda f: f["layers"].insert(1, LSTM), "all recurrent layers must be of one type, got gru"),
    "dense first": (lambda f: f["layers"].insert(0, f["layers"].pop()), "a dense layer must follow"),
    "dense twice": (lambda f: f["layers"].append(f["layers"][2]), "layer 3 .*: nothing may follow the dense layer"),
    "activation of gates": (layer(0, activation="relu"), "layer 0 .*activation must be .* or \"tanh\", got 'relu'"),
    "activation of a readout": (layer(2, activation="tanh"), r"layer 2 .*activation must be \"\", got 'tanh'"),
    "activation a list": (layer(2, activation=[]), r"layer 2 .*activation must be \"\", got \[\]"),
    "no shape": (layer(1, shape=None), r"layer 1 \(gru\): shape must be a list, got nothing"),
    "another size": (layer(1, shape=[NULL, NULL, 4]), "all recurrent layers must have one size, got 3"),
    "size text": (layer(0, shape=["3"]), r"layer 0 \(gru\): shape\[0\] must be an integer"),
    "size huge": (layer(0, shape=[10**15]), f"must be a list of {3 * 10**15}, got 9"),
    "readout of another size": (layer(2, shape=[NULL, 2]), r"layer 2 .*weights\[0\]\[0\] must be a list of 2, got 1"),
    "no weights": (layer(0, weights=None), r"layer 0 \(gru\): weights must be a list, got nothing"),
    "no bias": (lambda f: f["layers"][0]["weights"].pop(), r"layer 0 \(gru\): weights must be 3 arrays, got 2"),
    "one bias of a GRU": (weight(0, lambda b: b[0], 2), r"layer 0 \(gru\): weights\[2\] must be a list of 2, got 9"),
    "ragged": (weight(1, lambda row: row[:-1], 1, 2), r"layer 1 \(gru\): weights\[1\]\[2\] must be a list of 9, got 8"),
    "deeper": (weight(0, lambda n: [n], 0, 0, 0), r"weights\[0\]\[0\] must hold numbers"),
    "text": (weight(0, str, 0, 1, 4), r"weights\[0\]\[1\] must hold numbers"),
    "null": (weight(0, lambda n: None, 0, 1, 4), r"weights\[0\]\[1\] must hold numbers"),
    "true": (weight(0, lambda n: True, 0, 1, 4), r"weights\[0\]\[1\] must hold numbers"),
    "beyond float32": (weight(0, lambda n: 1e39, 0, 1, 4), r"weights\[0\] must hold numbers that float32 can hold"),
    "beyond float64": (weight(0, lambda n: 10**400, 0, 1, 4), r"weights\[0\] must hold numbers that float32 can hold"),
    "in_skip 3": (lambda f: f.update(in_skip=3), "in_skip must be 0 or 1, got 3"),
    "in_skip a fraction": (lambda f: f.update(in_skip=0.5), "in_skip must be an integer, got 0.5"),
    "rate negative": (lambda f: f.update(samplerate=-1), "samplerate must be above 0, got -1"),
}  # fmt: skip


@pytest.mark.parametrize("content, words", BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files(content, words, tmp_path):
    path = tmp_path / "bad.json"
    content = edited(content) if callable(content) else content
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words) as raised:
        from_rtneural(path)
    assert str(path) in str(raised.value)
    assert len(str(raised.value)) < 500


def test_the_good_file_is_good(tmp_path):
    (tmp_path / "good.json").write_text(edited(lambda file: None))
    assert from_rtneural(tmp_path / "good.json").num_layers == 2


def test_arguments_of_reading(tmp_path):
    path = tmp_path / "good.json"
    path.write_text(edited(lambda file: None))
    for options, error, words in [
        ({"dtype": "float16"}, TypeError, "^dtype must be float32 or float64, got 'float16'"),
        ({"with_fields": 1}, TypeError, "^with_fields must be True or False, got 1"),
        ({"batch_first": "no"}, TypeError, "^batch_first must be True or False"),
        ({"threads": 0}, ValueError, "^threads must be an integer of at least 1, got 0"),
    ]:
        with pytest.raises(error, match=words):
            from_rtneural(path, **options)
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        from_rtneural(tmp_path / "none.json")
    with pytest.raises((ValueError, OSError), match=str(tmp_path)):
        from_rtneural(tmp_path)
    with pytest.raises(TypeError, match="path must be a str or path-like, got 3"):
        from_rtneural(3)
    with pytest.raises(TypeError, match=r"rnn must be a bptt\.RNN, got str"):
        to_rtneural("net", path)
