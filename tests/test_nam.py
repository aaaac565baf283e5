"""Files of the architecture LSTM for Neural Amp Modeler, written and read, beside a reader in NumPy made from the
description of the format."""

import json

import numpy as np
import pytest
from cases import case_id, covering
from test_rtneural import check_same_network, logistic

import bptt
from bptt.convert import from_nam, to_nam

CASES = covering({
    "input_size": [1, 3], "hidden_size": [7, 1], "output_size": [1, 4], "num_layers": [1, 3], "bias": [True, False],
    "learn_state": [False, True], "dtype": ["float32", "float64"],
})  # fmt: skip


def drawn(**options):
    rnn = bptt.RNN(**options, cell="lstm", seed=5, threads=1)
    rnn.params *= 1.5
    for name, view in rnn.param_views().items():
        if name.startswith("state"):
            view[...] = np.random.default_rng(3).uniform(-1, 1, view.shape)
    return rnn


# ---- the reader ------------------------------------------------------------------------------------------


def play(file, sequence):
    """The outputs of a file for a sequence (T,I), in float64."""
    config, weights = file["config"], iter(file["weights"])

    def take(*shape):
        return np.array([next(weights) for _ in range(np.prod(shape))], float).reshape(shape)

    I, H = config["input_size"], config["hidden_size"]
    assert sequence.shape[1] == I == config.get("in_channels", 1)
    for layer in range(config["num_layers"]):
        weight, bias, h, c = take(4 * H, (H if layer else I) + H), take(4 * H), take(H), take(H)
        outputs = []
        for x in sequence:
            i, f, g, o = np.split(weight @ np.concatenate([x, h]) + bias, 4)
            c = logistic(f) * c + logistic(i) * np.tanh(g)
            h = logistic(o) * np.tanh(c)
            outputs.append(h)
        sequence = np.stack(outputs)
    head, head_bias = take(config.get("out_channels", 1), H), take(config.get("out_channels", 1))
    assert next(weights, None) is None
    return sequence @ head.T + head_bias


# ---- files and networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_written_and_read(case, tmp_path):
    rnn, path = drawn(**case), tmp_path / "net.nam"
    x = np.random.default_rng(1).normal(size=(50, rnn.input_size)).astype(rnn.dtype)
    y, _ = rnn.forward(x)
    assert to_nam(rnn, path) is None
    file = json.loads(path.read_text())
    np.testing.assert_allclose(play(file, x), y, rtol=0, atol=2e-6 * abs(y).max())
    again = from_nam(path, dtype=rnn.dtype, threads=1)
    assert again.spec == bptt.RNN(**case | {"bias": True}, cell="lstm").spec
    check_same_network(again, rnn, x, y)
    to_nam(again, tmp_path / "again.nam")
    assert (tmp_path / "again.nam").read_bytes() == path.read_bytes()
    mono = rnn.input_size == rnn.output_size == 1
    assert file["version"] == ("0.5.4" if mono else "0.7.0")
    assert ("in_channels" in file["config"]) != mono


def good_file(**fields):
    numbers = np.random.default_rng(2).uniform(-1, 1, (1 + 2) * 8 + 8 + 4 + 3).tolist()
    config = {"input_size": 1, "hidden_size": 2, "num_layers": 1}
    return {"version": "0.5.4", "architecture": "LSTM", "config": config, "weights": numbers, **fields}


def test_a_file_of_another_program(tmp_path):
    file = good_file(sample_rate=None, metadata={"date": {"year": 2024}, "loudness": None}, other=[1])
    path = tmp_path / "a"
    path.write_text(json.dumps(file, indent=4))
    x = np.random.default_rng(1).normal(size=(20, 1)).astype(np.float32)
    rnn, fields = from_nam(path, with_fields=True)
    assert fields == {"metadata": {"date": {"year": 2024}, "loudness": None}}
    assert rnn.learn_state
    np.testing.assert_allclose(rnn.forward(x)[0], play(file, x), atol=1e-6)
    y, _ = from_nam(path, batch_first=True, dtype="float64").forward(x[None])
    np.testing.assert_allclose(y[0], play(file, x), atol=1e-12)
    file["weights"][-7:-3] = [0] * 4  # h_0 and c_0
    path.write_text(json.dumps(file))
    assert not from_nam(path).learn_state


def test_fields(tmp_path):
    rnn, path = drawn(input_size=1, hidden_size=4, output_size=1), tmp_path / "net.nam"
    fields = {"sample_rate": 48000, "metadata": {"name": "ü", "loudness": -18.5, "gain": 0.2, "input_level_dbu": 12}}
    to_nam(rnn, path, **fields)
    file = json.loads(path.read_text())
    assert {name: file[name] for name in fields} == fields
    again, found = from_nam(path, with_fields=True)
    assert found == fields
    np.testing.assert_array_equal(again.forward(np.ones((5, 1)))[0], from_nam(path).forward(np.ones((5, 1)))[0])
    to_nam(rnn, path)
    assert from_nam(path, with_fields=True)[1] == {}
    assert {*json.loads(path.read_text())} == {"version", "architecture", "config", "weights"}


# ---- what is refused -------------------------------------------------------------------------------------

REFUSED = {
    "vanilla": ({"cell": "tanh"}, "cell='tanh'"),
    "GRU": ({"cell": "gru"}, "cell='gru'"),
    "peepholes": ({"peepholes": True}, "peepholes=True"),
    "two directions": ({"bidirectional": True}, "bidirectional=True"),
    "no readout": ({"output_size": None}, "output_size=None"),
    "one-hot": ({"one_hot": True}, "one_hot=True"),
    "embedding": ({"num_embeddings": 9}, "num_embeddings"),
    "two": ({"cell": "gru", "bidirectional": True}, "cell='gru' and bidirectional=True"),
}


@pytest.mark.parametrize("options, words", REFUSED.values(), ids=REFUSED)
def test_networks_that_it_cannot_hold(options, words, tmp_path):
    path = tmp_path / "net.nam"
    path.write_text("what was there")
    with pytest.raises(ValueError, match=f"NAM's LSTM has no counterpart of {words}$"):
        to_nam(bptt.RNN(2, 3, **{"output_size": 1, "cell": "lstm"} | options), path)
    assert path.read_text() == "what was there"


own = {}
own["own"] = own
ARGUMENTS = {
    "rate negative": ({"sample_rate": -1}, ValueError, "sample_rate must be above 0, got -1"),
    "rate NaN": ({"sample_rate": np.nan}, ValueError, "sample_rate must be a finite number, got nan"),
    "rate text": ({"sample_rate": "48k"}, TypeError, "sample_rate must be a number, got '48k'"),
    "metadata text": ({"metadata": "loud"}, TypeError, "metadata must be a dict, got 'loud'"),
    "metadata of sets": ({"metadata": {"a": {1}}}, TypeError, "metadata must hold what JSON can"),
    "metadata of itself": ({"metadata": own}, ValueError, "metadata must hold what JSON can"),
    "loudness text": ({"metadata": {"loudness": "-18"}}, TypeError, "metadata.*loudness.* must be a number, got '-18'"),
    "unknown": ({"samplerate": 44100}, TypeError, "samplerate"),
}  # fmt: skip


@pytest.mark.parametrize("fields, error, words", ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments(fields, error, words, tmp_path):
    with pytest.raises(error, match=words):
        to_nam(drawn(input_size=1, hidden_size=3, output_size=1), tmp_path / "net.nam", **fields)
    assert not [*tmp_path.iterdir()]


def test_parameters_that_are_not_finite(tmp_path):
    rnn = drawn(input_size=1, hidden_size=3, output_size=1)
    rnn.params[3] = -np.inf
    with pytest.raises(ValueError, match="must be finite in float32, got -inf in weight_ih_l0 at"):
        to_nam(rnn, tmp_path / "net.nam")
    assert not [*tmp_path.iterdir()]


def config(**values):
    """An edit of the config."""
    return lambda file: file["config"].update(values)


BAD_FILES = {  # {name: (an edit of the good file, words)}
    "no version": (lambda f: f.pop("version"), "version must be a string, got nothing"),
    "version a number": (lambda f: f.update(version=0.5), "version must be a string, got 0.5"),
    "version too old": (lambda f: f.update(version="0.4.0"), "version must be 0.5 to 0.7, got '0.4.0'"),
    "version too new": (lambda f: f.update(version="0.8.0"), "version must be 0.5 to 0.7, got '0.8.0'"),
    "WaveNet": (lambda f: f.update(architecture="WaveNet"), "architecture must be LSTM, got 'WaveNet'"),
    "no config": (lambda f: f.pop("config"), "config must be an object, got nothing"),
    "config a list": (lambda f: f.update(config=[1]), r"config must be an object, got \[1\]"),
    "no size": (lambda f: f["config"].pop("hidden_size"), "config: hidden_size must be an integer of .*, got None"),
    "size zero": (config(hidden_size=0), "config: hidden_size must be an integer of at least 1, got 0"),
    "size true": (config(input_size=True), "config: input_size must be an integer of at least 1, got True"),
    "size a fraction": (config(hidden_size=2.5), "config: hidden_size must be an integer of at least 1, got 2.5"),
    "size huge": (config(hidden_size=2**40), "weights must be a list of .*, got 39"),
    "size beyond": (config(hidden_size=2**80), "config: hidden_size must be an integer of at least 1"),
    "no layers": (config(num_layers=0), "config: num_layers must be an integer of at least 1, got 0"),
    "many layers": (config(num_layers=2**40), "num_layers must be at most 10000"),
    "two layers": (config(num_layers=2), "weights must be a list of 83, got 39"),
    "inputs without channels": (config(input_size=3), "config: in_channels must be input_size = 3, .* got 1"),
    "channels zero": (config(out_channels=0), "config: out_channels must be an integer of at least 1, got 0"),
    "more channels": (config(out_channels=2), "weights must be a list of 42, got 39"),
    "no weights": (lambda f: f.pop("weights"), "weights must be a list of 39, got None"),
    "weights too few": (lambda f: f["weights"].pop(), "weights must be a list of 39, got 38"),
    "weights too many": (lambda f: f["weights"].append(0), "weights must be a list of 39, got 40"),
    "weights nested": (lambda f: f["weights"].__setitem__(3, [1]), "weights must hold numbers"),
    "weights of text": (lambda f: f["weights"].__setitem__(3, "1"), "weights must hold numbers"),
    "beyond float32": (lambda f: f["weights"].__setitem__(3, 1e39), "weights must hold numbers that float32 can hold"),
    "rate text": (lambda f: f.update(sample_rate="48000"), "sample_rate must be a number, got '48000'"),
    "loudness text": (lambda f: f.update(metadata={"loudness": "x"}), "loudness.* must be a number, got 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("edit, words", BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files(edit, words, tmp_path):
    path, file = tmp_path / "bad.nam", good_file()
    edit(file)
    path.write_text(json.dumps(file))
    with pytest.raises(ValueError, match=words) as raised:
        from_nam(path)
    assert str(path) in str(raised.value)
    assert len(str(raised.value)) < 500


def test_arguments_of_reading(tmp_path):
    path = tmp_path / "good.nam"
    path.write_text(json.dumps(good_file()))
    assert from_nam(path).hidden_size == 2
    for options, error, words in [
        ({"dtype": "float16"}, TypeError, "^dtype must be float32 or float64, got 'float16'"),
        ({"with_fields": None}, TypeError, "^with_fields must be True or False, got None"),
        ({"batch_first": 1}, TypeError, "^batch_first must be True or False, got 1"),
        ({"threads": 0}, ValueError, "^threads must be an integer of at least 1, got 0"),
    ]:
        with pytest.raises(error, match=words):
            from_nam(path, **options)
    with pytest.raises(FileNotFoundError, match=r"none\.nam"):
        from_nam(tmp_path / "none.nam")
    path.write_text("RIFF")
    with pytest.raises(ValueError, match=r"path must name a \.nam file, got .*good\.nam"):
        from_nam(path)
    with pytest.raises(TypeError, match=r"rnn must be a bptt\.RNN, got NoneType"):
        to_nam(None, path)
