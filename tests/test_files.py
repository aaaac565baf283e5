"""Model files: whole, foreign, broken; and saves that are interrupted."""

import json
import os
import stat

import numpy as np
import pytest
import safetensors.numpy

import bptt
from bptt import _files


@pytest.fixture
def rnn():
    return bptt.RNN(3, 5, 2, cell="relu", seed=1)


@pytest.mark.parametrize("options", [
    {}, {"output_size": None}, {"bias": False}, {"dtype": "float64"}, {"batch_first": True, "cell": "sigmoid"},
    {"cell": "lstm", "num_layers": 3, "bidirectional": True, "peepholes": True, "learn_state": True},
    {"cell": "gru", "reset_after": False, "num_layers": 2, "dropout": 0.25, "recurrent_dropout": 0.5},
    {"cell": "lstm", "forget_bias": 1.0, "bidirectional": True},
], ids=str)  # fmt: skip
def test_load_is_what_was_saved(tmp_path, options):
    rnn = bptt.RNN(**{"input_size": 3, "hidden_size": 5, "output_size": 2, "seed": 0} | options)
    path = tmp_path / "model.safetensors"
    rnn.save(path)
    again = bptt.RNN.load(path)
    np.testing.assert_array_equal(again.params, rnn.params)
    assert repr(again) == repr(rnn)
    assert again.description() == rnn.description()
    assert all(again.description()[name] == value for name, value in options.items() if name != "forget_bias")
    x = np.ones((4, 2, 3))
    np.testing.assert_array_equal(again.forward(x, tape=False)[0], rnn.forward(x, tape=False)[0])
    again.save(str(path))  # a str, over the old file


def test_other_programs_read_it(tmp_path, rnn):
    path = tmp_path / "model.safetensors"
    rnn.save(path)
    tensors = safetensors.numpy.load_file(path)
    assert list(tensors) == sorted(rnn.param_views())
    np.testing.assert_array_equal(tensors["weight_hh_l0"], rnn.param_views()["weight_hh_l0"])


def rewrite(path, change):
    with safetensors.safe_open(path, framework="np") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    description = json.loads(metadata["bptt"])
    change(description, tensors)
    safetensors.numpy.save_file(tensors, path, {"bptt": json.dumps(description)})


BROKEN = {
    "empty": lambda p: p.write_bytes(b""),
    "truncated header": lambda p: p.write_bytes(p.read_bytes()[:20]),
    "truncated data": lambda p: p.write_bytes(p.read_bytes()[:-1]),
    "text": lambda p: p.write_text("not a model " * 20),
    "zeros": lambda p: p.write_bytes(bytes(1000)),
    "huge header": lambda p: p.write_bytes((2**60).to_bytes(8, "little") + bytes(100)),
    "foreign": lambda p: safetensors.numpy.save_file({"a": np.ones(3)}, p),
    "foreign with metadata": lambda p: safetensors.numpy.save_file({"a": np.ones(3)}, p, {"format": "pt"}),
    "description is no JSON": lambda p: safetensors.numpy.save_file({"a": np.ones(3)}, p, {"bptt": "{"}),
    "description is a list": lambda p: safetensors.numpy.save_file({"a": np.ones(3)}, p, {"bptt": "[1]"}),
    "later format": lambda p: rewrite(p, lambda d, t: d.update(format=99)),
    "no cell": lambda p: rewrite(p, lambda d, t: d.pop("cell")) or rewrite(p, lambda d, t: d.update(cell=None)),
    "fewer layers": lambda p: rewrite(p, lambda d, t: d.update(num_layers=2)),
    "a cell of other gates": lambda p: rewrite(p, lambda d, t: d.update(cell="gru")),
    "unknown field": lambda p: rewrite(p, lambda d, t: d.update(colour="red")),
    "sizes that do not fit": lambda p: rewrite(p, lambda d, t: d.update(hidden_size=6)),
    "sizes beyond memory": lambda p: rewrite(p, lambda d, t: d.update(hidden_size=2**40)),
    "another dtype": lambda p: rewrite(p, lambda d, t: d.update(dtype="float64")),
    "a tensor missing": lambda p: rewrite(p, lambda d, t: t.pop("bias_o")),
    "a tensor too many": lambda p: rewrite(p, lambda d, t: t.update(extra=np.ones(2, np.float32))),
    "a tensor of another shape": lambda p: rewrite(p, lambda d, t: t.update(bias_o=np.ones(3, np.float32))),
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_and_foreign_files(tmp_path, rnn, how):
    path = tmp_path / "model.safetensors"
    rnn.save(path)
    BROKEN[how](path)
    with pytest.raises(ValueError, match=r"path must name a model file, got .*model.safetensors: ") as caught:
        bptt.RNN.load(path)
    assert len(str(caught.value)) > len(str(path)) + 40


def test_state_dicts_go_between_networks():
    options = {"cell": "lstm", "num_layers": 2, "bidirectional": True, "learn_state": True, "peepholes": True}
    a, b = (bptt.RNN(3, 5, 2, seed=seed, **options) for seed in (1, 2))
    state = a.state_dict()
    assert {"weight_ih_l1_reverse", "weight_peephole_l0", "state_h0", "state_c0"} <= set(state)
    assert state["weight_ih_l1_reverse"].shape == (20, 10)
    assert state["state_c0"].shape == (4, 5)
    b.load_state_dict(state)
    np.testing.assert_array_equal(b.params, a.params)
    with pytest.raises(ValueError, match=r"missing \['state_c0'\]"):
        b.load_state_dict({name: value for name, value in state.items() if name != "state_c0"})


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        bptt.RNN.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        bptt.RNN(1, 1).save(tmp_path / "no folder" / "model")


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
@pytest.mark.parametrize("exception", [OSError, KeyboardInterrupt])
def test_an_interrupted_save_leaves_the_old_file_whole(tmp_path, rnn, monkeypatch, where, exception):
    path = tmp_path / "model.safetensors"
    rnn.save(path)
    old = path.read_bytes()

    def fail(*args):
        raise exception("interrupted")

    if where == "write":
        real = os.fdopen

        class Half:
            def __init__(self, handle, mode):
                self.file = real(handle, mode)

            def __enter__(self):
                return self

            def __exit__(self, *args):
                self.file.close()

            def write(self, data):
                self.file.write(data[: len(data) // 2])
                self.file.flush()
                fail()

        monkeypatch.setattr(_files.os, "fdopen", Half)
    else:
        monkeypatch.setattr(_files.os, where, fail)
    params = rnn.params.copy()
    rnn.params += 1
    with pytest.raises(exception, match="interrupted"):
        rnn.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == [path.name]
    np.testing.assert_array_equal(bptt.RNN.load(path).params, params)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_permissions(tmp_path, rnn):
    path = tmp_path / "model.safetensors"
    plain = tmp_path / "plain"
    plain.touch()
    rnn.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    path.chmod(0o640)
    rnn.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("options", [
    {"cell": "relu"}, {"cell": "lstm", "num_layers": 2, "bidirectional": True, "peepholes": True, "learn_state": True},
    {"cell": "gru", "reset_after": False, "num_layers": 2, "dropout": 0.25},
], ids=str)  # fmt: skip
def test_pickle_and_copy(options):
    import copy
    import pickle

    rnn = bptt.RNN(3, 5, 2, seed=1, **options)
    for again in (pickle.loads(pickle.dumps(rnn)), copy.deepcopy(rnn), copy.copy(rnn)):
        assert repr(again) == repr(rnn)
        assert again.description() == rnn.description()
        np.testing.assert_array_equal(again.params, rnn.params)
        again.params += 1
        assert not np.array_equal(again.params, rnn.params)
        assert again.forward(np.ones((2, 1, 3)))[0].shape == (2, 1, 2)
