"""Model files: whole, foreign, broken; and saves that are interrupted."""

import itertools
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import tracemalloc

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


def edit(path, change, body=None):
    """Changes the header's JSON (and the description's in it) as text; `body` replaces the bytes behind it."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = change(data[8 : 8 + size].decode()).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + (data[8 + size :] if body is None else body))


def with_entry(path, name, **changes):
    """Changes what the header says of a tensor. With another size in bytes the data gets a gap or an overlap."""

    def change(header):
        header = json.loads(header)
        header[name] |= changes
        return json.dumps(header)

    edit(path, change)


def describe(path, text):
    """Puts another description into the file: as JSON inside a JSON string."""
    edit(path, lambda header: json.dumps(json.loads(header) | {"__metadata__": {"bptt": text}}))


def description(path):
    data = path.read_bytes()
    return json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["bptt"])


def consistent(path, **changes):
    """A file whose header is that of a network with these changes, and whose data is missing."""
    fields = description(path) | changes
    header, end = {"__metadata__": {"bptt": json.dumps(fields)}}, 0
    spec = bptt._spec.Spec(**{name: value for name, value in fields.items() if name != "format"})
    for name, offset, shape in bptt._core.tensors_of(spec):
        begin, end = 4 * offset, 4 * (offset + int(np.prod(shape)))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    edit(path, lambda _: json.dumps(header), body=bytes(1000))


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
    "format is true": lambda p: rewrite(p, lambda d, t: d.update(format=True)),
    "format is 1.0": lambda p: rewrite(p, lambda d, t: d.update(format=1.0)),
    "no format": lambda p: rewrite(p, lambda d, t: d.pop("format")),
    "an argument that is no field": lambda p: rewrite(p, lambda d, t: d.update(init="identity")),
    "a seed": lambda p: rewrite(p, lambda d, t: d.update(seed=1)),
    "true for 1": lambda p: rewrite(p, lambda d, t: d.update(num_layers=True)),
    "1 for true": lambda p: rewrite(p, lambda d, t: d.update(bias=1)),
    "false for 0.0": lambda p: rewrite(p, lambda d, t: d.update(dropout=False)),
    "another name of the dtype": lambda p: rewrite(p, lambda d, t: d.update(dtype="f4")),
    "a dtype of many parts": lambda p: rewrite(p, lambda d, t: d.update(dtype=[["a", "f4"]])),
    "a size in a list": lambda p: rewrite(p, lambda d, t: d.update(hidden_size=[5])),
    "dropout is NaN": lambda p: rewrite(p, lambda d, t: d.update(dropout=float("nan"))),
    "unknown field of NaN": lambda p: rewrite(p, lambda d, t: d.update(colour=float("inf"))),
    "a number of 5000 digits": lambda p: describe(p, '{"hidden_size": 1' + "0" * 5000 + "}"),
    "a key twice": lambda p: describe(p, '{"format": 2, ' + json.dumps(description(p))[1:]),
    "deep JSON": lambda p: describe(p, "[" * 100_000),
    "deep JSON in a field": lambda p: describe(p, '{"format": ' + '{"a":' * 100_000),
    "deep JSON in the header": lambda p: edit(p, lambda h: '{"a":' * 100_000),
    "a list for a header": lambda p: edit(p, lambda h: f"[{h}]"),
    "a tensor twice": lambda p: edit(
        p, lambda h: '{"bias_o":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},' + h[1:]
    ),
    "no UTF-8": lambda p: p.write_bytes(p.read_bytes().replace(b"relu", b"rel\xff")),
    "more data": lambda p: p.write_bytes(p.read_bytes() + bytes(4)),
    "data elsewhere": lambda p: edit(p, lambda h: re.sub(r'("weight_ho".*?"data_offsets":)\[', r"\1[4", h)),
    "two tensors in one place": lambda p: with_entry(p, "bias_hh_l0", data_offsets=[20, 40]),
    "a gap before the first tensor": lambda p: with_entry(p, "bias_hh_l0", data_offsets=[4, 20]),
    "a gap behind the last tensor": lambda p: with_entry(p, "weight_ih_l0", data_offsets=[188, 244]),
    "a place that is no integer": lambda p: with_entry(p, "bias_hh_l0", data_offsets=[0.0, 20]),
    "a place that is a bool": lambda p: with_entry(p, "bias_hh_l0", data_offsets=[False, 20]),
    "a place below 0": lambda p: with_entry(p, "bias_hh_l0", data_offsets=[-20, 0]),
    "a place of three numbers": lambda p: with_entry(p, "bias_hh_l0", data_offsets=[0, 10, 20]),
    "a place without numbers": lambda p: with_entry(p, "bias_hh_l0", data_offsets=[]),
    "no place": lambda p: with_entry(p, "bias_hh_l0", data_offsets=None),
    "a size that is no integer": lambda p: with_entry(p, "bias_hh_l0", shape=[5.0]),
    "a type that is a list": lambda p: with_entry(p, "bias_hh_l0", dtype=["F32"]),
    "a type of another width": lambda p: with_entry(p, "bias_hh_l0", dtype="F16"),
    "a tensor that is a number": lambda p: edit(p, lambda h: json.dumps(json.loads(h) | {"bias_o": 1})),
    "metadata of numbers": lambda p: edit(p, lambda h: h.replace('"__metadata__":{', '"__metadata__":{"a":1,')),
    "metadata in a list": lambda p: edit(p, lambda h: json.dumps(json.loads(h) | {"__metadata__": ["bptt"]})),
    "many layers": lambda p: rewrite(p, lambda d, t: d.update(num_layers=10_000, bidirectional=True)),
    "many units": lambda p: rewrite(p, lambda d, t: d.update(hidden_size=20_000)),
    "many units and their shapes": lambda p: consistent(p, hidden_size=20_000),
    "sizes beyond addresses and their shapes": lambda p: rewrite(p, lambda d, t: d.update(hidden_size=2**62)),
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_and_foreign_files(tmp_path, rnn, how):
    """An error that names the path, at once and without memory for what is not there."""
    path = tmp_path / "model.safetensors"
    rnn.save(path)
    whole = path.read_bytes()
    BROKEN[how](path)
    assert path.read_bytes() != whole
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(ValueError, match=r"path must name a model file, got .*model.safetensors: ") as caught:
            bptt.RNN.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * path.stat().st_size + 1_000_000
    assert time.process_time() - began < 2
    assert len(str(path)) + 40 < len(str(caught.value)) < len(str(path)) + 1000


def test_true_is_no_size(tmp_path):
    path = tmp_path / "model"
    bptt.RNN(1, 1, seed=0).save(path)
    with_entry(path, "bias_hh_l0", shape=[True])
    with pytest.raises(ValueError, match=r"the tensor 'bias_hh_l0' is "):
        bptt.RNN.load(path)


def test_load_needs_no_memory_but_the_networks(tmp_path):
    """Parameters and gradients, and of the file never more than a tensor's part."""
    rnn = bptt.RNN(100, 200, 50, cell="lstm", num_layers=3, dtype="float64", seed=0)
    rnn.save(tmp_path / "model")
    tracemalloc.start()
    try:
        again = bptt.RNN.load(tmp_path / "model")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(again.params, rnn.params)
    assert peak < 2.1 * rnn.params.nbytes


@pytest.mark.parametrize("name", ["output_size", "num_layers", "dropout", "batch_first", "dtype"])
def test_a_field_that_is_missing_has_its_default(tmp_path, name):
    path = tmp_path / "model"
    rnn = bptt.RNN(2, 3, cell="lstm", seed=0)
    rnn.save(path)
    rewrite(path, lambda d, t: d.pop(name))
    again = bptt.RNN.load(path)
    assert again.spec == rnn.spec
    np.testing.assert_array_equal(again.params, rnn.params)


def test_many_layers_are_saved_and_loaded(tmp_path):
    rnn = bptt.RNN(1, 1, num_layers=200, bidirectional=True, seed=0)
    rnn.save(tmp_path / "model")
    np.testing.assert_array_equal(bptt.RNN.load(tmp_path / "model").params, rnn.params)


@pytest.mark.skipif(os.name == "nt", reason="POSIX devices")
def test_loading_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")  # nobody writes to it
    for path in (tmp_path / "fifo", "/dev/zero", "/dev/null"):
        with pytest.raises(ValueError, match=f"got {path}: it must be a regular file"):
            bptt.RNN.load(path)
    for path, error in {tmp_path: IsADirectoryError, "": FileNotFoundError, "/proc/self/mem": OSError}.items():
        with pytest.raises(error) as caught:
            bptt.RNN.load(path)
        assert caught.value.filename == str(path)


@pytest.mark.parametrize("path", [0, True, None, 1.5, [b"a"]], ids=repr)
def test_paths_that_are_none(path, rnn):
    for call in (bptt.RNN.load, rnn.save):
        with pytest.raises(TypeError, match="path must be a str or path-like, got "):
            call(path)
        with pytest.raises(ValueError, match="path must be without null characters"):
            call("a\0b")


LOADS = """
import sys, bptt
for _ in range(60):
    try:
        bptt.RNN.load(sys.argv[1])
    except ValueError:
        pass
"""


@pytest.mark.skipif(os.name == "nt", reason="no open file is rewritten there")
def test_a_file_that_another_program_rewrites(tmp_path):
    """A mapped file would kill the process by SIGBUS."""
    path = tmp_path / "model"
    bptt.RNN(100, 1500, seed=0).save(path)
    whole = path.read_bytes()
    child = subprocess.Popen([sys.executable, "-c", LOADS, path])
    for milliseconds in itertools.cycle(range(10)):
        if child.poll() is not None:
            break
        path.write_bytes(whole)
        time.sleep(milliseconds / 1000)
    assert child.returncode == 0


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

        class Half:
            def __init__(self, name, mode):
                self.file, self.name = open(name, mode), name  # noqa: SIM115

            def __enter__(self):
                return self

            def __exit__(self, *args):
                self.file.close()

            def fileno(self):
                return self.file.fileno()

            def write(self, data):
                self.file.write(data[: len(data) // 2])
                self.file.flush()
                fail()

        monkeypatch.setattr(_files, "open", Half, raising=False)
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


def test_ctrl_c_while_the_temporary_file_is_made(tmp_path, rnn, monkeypatch):
    def interrupted(*args):
        open(*args).close()  # the system has made the file
        raise KeyboardInterrupt

    monkeypatch.setattr(_files, "open", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt):
        rnn.save(tmp_path / "model")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("where", ["fsync", "replace"])
@pytest.mark.parametrize("exception", [OSError, KeyboardInterrupt])
def test_files_that_go_together(tmp_path, monkeypatch, where, exception):
    """None is replaced before all are written: an error of the second leaves both."""
    first, second = (os.fspath(tmp_path / name) for name in ("first", "second"))
    _files.write_together({first: b"1", second: b"2"})
    calls, written = [], getattr(os, where)

    def fail(*args):
        calls.append(args)
        if where == "replace" or len(calls) == 2:
            raise exception("interrupted")
        written(*args)

    monkeypatch.setattr(_files.os, where, fail)
    with pytest.raises(exception, match="interrupted"):
        _files.write_together({first: b"one", second: b"two"})
    monkeypatch.undo()
    assert [read(path) for path in (first, second)] == [b"1", b"2"]
    assert sorted(os.listdir(tmp_path)) == ["first", "second"]
    _files.write_together({first: b"one", second: b"two"})
    assert [read(path) for path in (first, second)] == [b"one", b"two"]


def read(path):
    with open(path, "rb") as file:
        return file.read()


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


def save_as(rnn, path):
    rnn.save(path)
    return bptt.RNN.load(path)


@pytest.mark.skipif(sys.platform != "linux", reason="names that Linux has")
@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, ".hidden", "a b\n", b"\xff\xfe"], ids=ascii)
def test_names(tmp_path, rnn, name):
    """As long as the system allows, and not of UTF-8."""
    path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    for _ in range(2):
        np.testing.assert_array_equal(save_as(rnn, path).params, rnn.params)
    assert os.listdir(os.fsencode(tmp_path)) == [os.fsencode(name)]


@pytest.mark.skipif(os.name == "nt", reason="POSIX paths")
def test_what_is_no_name_of_a_file(tmp_path, rnn, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder")
    for path in ("new/", "folder", "folder/", "folder/.", "folder/..", ".", "..", "new/."):
        with pytest.raises(IsADirectoryError) as caught:
            rnn.save(path)
        assert caught.value.filename == path
    for path in ("", "new/file", "folder/new/file"):
        with pytest.raises(FileNotFoundError) as caught:
            rnn.save(path)
        assert caught.value.filename == path
    open("file", "w").close()
    with pytest.raises(NotADirectoryError) as caught:
        rnn.save("file/below")
    assert caught.value.filename == "file/below"
    assert str(caught.value).endswith("'file/below'")  # without the name of a temporary file
    assert sorted(os.listdir()) == ["file", "folder"]
    assert os.listdir("folder") == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX links")
def test_links(tmp_path, rnn):
    for name in ("target", "new"):
        (tmp_path / f"link to {name}").symlink_to(name)
    (tmp_path / "target").touch()
    (tmp_path / "loop").symlink_to("loop")
    for name in ("target", "new"):
        save_as(rnn, tmp_path / f"link to {name}")
        assert (tmp_path / f"link to {name}").is_symlink()
        bptt.RNN.load(tmp_path / name)
    with pytest.raises(OSError, match="loop") as caught:
        rnn.save(tmp_path / "loop")
    assert caught.value.filename == str(tmp_path / "loop")
    assert len(os.listdir(tmp_path)) == 5


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_saving_into_a_pipe(tmp_path, rnn):
    """It stays a pipe, and who reads it gets the bytes of a file."""
    path, fifo, found = tmp_path / "model", tmp_path / "fifo", []
    rnn.save(path)
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: found.append(read(fifo)))
    reader.start()
    rnn.save(fifo)
    reader.join()
    assert found == [path.read_bytes()]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["fifo", "model"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="names of open files")
def test_saving_into_an_open_file(tmp_path, rnn):
    rnn.save(tmp_path / "model")
    expected = (tmp_path / "model").read_bytes()
    with open(tmp_path / "removed", "w+b") as file:
        os.unlink(file.name)
        rnn.save(f"/proc/self/fd/{file.fileno()}")
        assert file.read() == expected
    read, write = os.pipe()
    with open(read, "rb") as reader:
        rnn.save(f"/dev/fd/{write}")
        os.close(write)
        assert reader.read() == expected
    read, write = os.pipe()
    os.close(read)
    with pytest.raises(BrokenPipeError) as caught:
        rnn.save(f"/dev/fd/{write}")
    os.close(write)
    assert caught.value.filename == f"/dev/fd/{write}"
    assert os.listdir(tmp_path) == ["model"]


KILLED = """
import os, signal, sys
import bptt
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
bptt.RNN(3, 5, 2).save(sys.argv[1])
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX locks")
def test_the_next_save_removes_what_killed_ones_left(tmp_path, rnn):
    path, other = tmp_path / "model", tmp_path / "other"
    for _ in range(2):
        ended = subprocess.run([sys.executable, "-c", KILLED, path])
        assert ended.returncode == -signal.SIGKILL
    left = os.listdir(tmp_path)
    assert len(left) == 1  # the second removed that of the first
    rnn.save(other)
    assert set(os.listdir(tmp_path)) == {"other", *left}
    rnn.save(path)
    assert set(os.listdir(tmp_path)) == {"other", "model"}


@pytest.mark.skipif(os.name == "nt", reason="POSIX locks")
def test_saves_of_the_same_file_at_once(tmp_path, monkeypatch):
    """None takes the temporary file of another for that of a killed save."""
    path, first = tmp_path / "model", bptt.RNN(3, 5, 2, seed=1)
    sync, writing, go_on = os.fsync, threading.Event(), threading.Event()

    def wait(handle):
        if threading.current_thread() is thread:
            writing.set()
            assert go_on.wait(20)
        sync(handle)

    monkeypatch.setattr(_files.os, "fsync", wait)
    thread = threading.Thread(target=first.save, args=(path,))
    thread.start()
    assert writing.wait(20)
    second = bptt.RNN(3, 5, 2, seed=2)
    np.testing.assert_array_equal(save_as(second, path).params, second.params)
    assert len(os.listdir(tmp_path)) == 2
    go_on.set()
    thread.join()
    np.testing.assert_array_equal(bptt.RNN.load(path).params, first.params)
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.skipif(os.name == "nt", reason="no open file is replaced there")
def test_many_saves_of_the_same_file_at_once(tmp_path):
    networks = [bptt.RNN(3, 5, 2, seed=seed) for seed in range(4)]
    errors = []

    def save(rnn):
        try:
            for _ in range(80):
                save_as(rnn, tmp_path / "model")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(rnn,)) for rnn in networks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert os.listdir(tmp_path) == ["model"]


# ---- state dicts -------------------------------------------------------------------------------------------


def test_a_state_of_views_of_the_own_parameters():
    rnn = bptt.RNN(5, 5, 5, num_layers=2, seed=0)
    views = rnn.param_views()
    names = [name for name, view in views.items() if view.shape == (5, 5)]
    others = dict(zip(names, [*names[1:], names[0]], strict=True))
    others |= {name: name for name in views if name not in names}
    expected = {name: views[other].T.copy() for name, other in others.items()}
    rnn.load_state_dict({name: views[other].T for name, other in others.items()})
    for name, view in views.items():
        np.testing.assert_array_equal(view, expected[name])


@pytest.mark.parametrize("bad", [1e39, np.float64(-1e300), 10**400, "a", 1j, None])
def test_a_state_that_does_not_fit_leaves_all_as_it_was(rnn, bad):
    """Under np.errstate too, which decides what NumPy says of a number beyond float32."""
    params = rnn.params.copy()
    state = {name: (view + 1).astype(np.float64) for name, view in rnn.state_dict().items()}
    last = list(state)[-1]
    state[last] = [bad] * state[last].size
    for over in ("raise", "ignore", "warn"):
        with np.errstate(all=over), pytest.raises((ValueError, TypeError), match=f"'{last}'"):
            rnn.load_state_dict(state)
        np.testing.assert_array_equal(rnn.params, params)
    for name in ("params", "grads"):
        with np.errstate(all="raise"), pytest.raises((ValueError, TypeError), match=name):
            setattr(rnn, name, [1.0] * (rnn.params.size - 1) + [bad])
        np.testing.assert_array_equal(rnn.params, params)
        np.testing.assert_array_equal(rnn.grads, np.zeros_like(params))


def test_a_state_of_inf_nan_and_tiny_numbers(rnn):
    state = {name: np.full(view.shape, 1e-60) for name, view in rnn.param_views().items()}
    state["bias_o"] = [np.inf, np.nan]
    with np.errstate(all="raise"):
        rnn.load_state_dict(state)
    np.testing.assert_array_equal(rnn.param_views()["bias_o"], state["bias_o"])
    assert not rnn.param_views()["weight_ho"].any()


def test_a_masked_state_is_refused(rnn):
    state = rnn.state_dict()
    state["bias_o"] = np.ma.masked_array([1, 2], [True, False])
    with pytest.raises(TypeError, match=r"'bias_o'.*mask"):
        rnn.load_state_dict(state)


def test_flat_arrays_are_assigned_views_of_themselves(rnn):
    for name in ("params", "grads"):
        array = getattr(rnn, name)
        array[:] = np.arange(array.size)
        setattr(rnn, name, array[::-1])
        np.testing.assert_array_equal(array, np.arange(array.size)[::-1])


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
