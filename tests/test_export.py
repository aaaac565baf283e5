"""python -m bptt export: each format by its converter, and errors of one line."""

import runpy
import subprocess
import sys

import numpy as np
import pytest

import bptt
from bptt import _export


@pytest.fixture
def export(monkeypatch, capsys):
    """What the command prints and its exit code, run in this process: (stdout, stderr, code)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["bptt", "export", *map(str, arguments)])
        code = 0
        try:
            runpy.run_module("bptt", run_name="__main__", alter_sys=False)
        except SystemExit as ended:
            code = ended.code
        return *capsys.readouterr(), code

    return call


@pytest.fixture
def model(tmp_path):
    """A model file and its network."""
    rnn = bptt.RNN(2, 3, 1, cell="lstm", seed=0)
    rnn.save(tmp_path / "amp.safetensors")
    return tmp_path / "amp.safetensors", rnn


def test_c(model, tmp_path, export):
    path, rnn = model
    (tmp_path / "other").mkdir()
    files = bptt.convert.to_c(rnn, tmp_path / "other", "amp")
    printed, errors, code = export(path, "--to", "c")
    assert (errors, code) == ("", 0)
    assert printed == f"{files}\n".replace("other/", "")
    for end in "hc":
        assert (tmp_path / f"amp.{end}").read_bytes() == (tmp_path / "other" / f"amp.{end}").read_bytes()


def test_c_with_all_options(model, tmp_path, export):
    path, rnn = model
    x = np.random.default_rng(0).normal(size=(50, 2))
    np.save(tmp_path / "x.npy", x)
    out = tmp_path / "out"
    out.mkdir()
    options = ["--output", out, "--name", "net", "--weights", "int8", "--inputs", tmp_path / "x.npy"]
    printed, _, code = export(path, "--to", "c", *options)
    written = [(out / f"net.{end}").read_bytes() for end in "hc"]
    assert code == 0
    assert printed == f"{bptt.convert.to_c(rnn, out, 'net', weights='int8', x=x)}\n"
    assert written == [(out / f"net.{end}").read_bytes() for end in "hc"]
    assert "given sequence of 50 steps" in written[0].decode()


@pytest.mark.parametrize("options", [{"cell": "gru"}, {"cell": "lstm", "num_embeddings": 5}])
def test_torch(tmp_path, export, torch, options):
    rnn = bptt.RNN(2, 3, 1, seed=0, **options)
    rnn.save(tmp_path / "net.safetensors")
    printed, _, code = export(tmp_path / "net.safetensors", "--to", "torch")
    assert code == 0
    assert printed.startswith(f"{tmp_path / 'net.pt'}: ")
    *embedding, module, readout = bptt.convert.to_torch(rnn)
    modules = torch.nn.ModuleDict(
        {"rnn": module, "readout": readout, **dict(zip(["embedding"], embedding, strict=False))}
    )
    expected = {name: tensor.clone() for name, tensor in modules.state_dict().items()}
    for parameter in modules.parameters():
        parameter.data.zero_()
    modules.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    assert all(torch.equal(tensor, expected[name]) for name, tensor in modules.state_dict().items())


@pytest.mark.parametrize("flags", [[], ["--state-inputs"]])
def test_onnx(model, tmp_path, export, flags):
    pytest.importorskip("onnx")
    path, rnn = model
    printed, _, code = export(path, "--to", "onnx", "--output", tmp_path / "a.onnx", *flags)
    assert (printed, code) == (f"{tmp_path / 'a.onnx'}: {rnn!r}\n", 0)
    bptt.convert.to_onnx(rnn, tmp_path / "b.onnx", state_inputs=bool(flags))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("name", sorted(_export.FORMATS.keys() - _export.WRITERS))
def test_a_converter_gets_its_file_and_fields(model, tmp_path, export, monkeypatch, name):
    """Of any format that is written by path: the one beside the model, and fields as JSON or text."""
    calls = []

    def converter(*given, metadata=None, in_gain=None, by=None):
        calls.append((given, metadata, in_gain, by))

    monkeypatch.setattr(bptt.convert, f"to_{name}", converter, raising=False)
    path, rnn = model
    fields = ["--field", 'metadata={"name": "a=b"}', "--field", "in_gain=1.5", "--field", "by=me"]
    takes_fields = "field" in _export.FORMATS[name].options
    _, errors, code = export(path, "--to", name, *(fields if takes_fields else []))
    assert (errors, code) == ("", 0)
    (((converted, file), *given),) = calls
    assert (converted.params == rnn.params).all()
    assert file == str(tmp_path / f"amp{_export.FORMATS[name].suffix}")
    assert given == ([{"name": "a=b"}, 1.5, "me"] if takes_fields else [None] * 3)


def test_every_converter_that_writes_a_file_is_a_format():
    written = {name.removeprefix("to_") for name in bptt.convert.__all__ if name.startswith("to_")}
    assert written - {"keras_weights"} == _export.FORMATS.keys()


MODEL = "amp.safetensors"
WRONG = {  # (arguments, words of the error)
    "nothing": ([], ["required: model, --to"]),
    "no format": ([MODEL], ["required: --to"]),
    "another format": ([MODEL, "--to", "keras"], ["--to", "'keras'", "'c'", "'torch'"]),
    "no such file": (["none.safetensors", "--to", "c"], ["No such file", "none.safetensors"]),
    "a folder": ([".", "--to", "c"], ["."]),
    "no model file": (["text.txt", "--to", "onnx"], ["path must name a model file", "text.txt"]),
    "no such folder": ([MODEL, "--to", "c", "--output", "none"], ["No such file", "amp.h"]),
    "a name that is none": ([MODEL, "--to", "c", "--name", "a-b"], ["name must be an identifier", "'a-b'"]),
    "unknown weights": ([MODEL, "--to", "c", "--weights", "int4"], ["weights", "float32, int8", "'int4'"]),
    "inputs of float weights": ([MODEL, "--to", "c", "--inputs", "x.npy"], ["x goes with weights='int8'"]),
    "no inputs": ([MODEL, "--to", "c", "--weights", "int8", "--inputs", "empty.npy"], ["No data left in file"]),
    "inputs of another width": ([MODEL, "--to", "c", "--weights", "int8", "--inputs", "x.npy"], ["I = 2", "(4, 5)"]),
    "an option of another format": ([MODEL, "--to", "torch", "--name", "a"], ["--name goes with --to c, got"]),
    "a field that is none": (
        [MODEL, "--to", "rtneural", "--field", "path=1"],
        ["--field must be one of in_skip, in_gain, out_gain, samplerate, metadata, got path"],
    ),
    "a field twice": (
        [MODEL, "--to", "rtneural", "--field", "in_gain=1", "--field", "in_gain=2"],
        ["got in_gain twice"],
    ),
    "a field of another type": ([MODEL, "--to", "nam", "--field", "sample_rate=fast"], ["a number, got 'fast'"]),
    "the model itself": (["net.json", "--to", "rtneural"], ["--output must be another file than the model"]),
    "the model by another path": ([MODEL, "--to", "nam", "--output", f"./{MODEL}"], ["another file than the model"]),
    "what torch lacks": (["peep.safetensors", "--to", "torch"], ["torch.nn has no counterpart of peepholes=True"]),
    "two directions": (["both.safetensors", "--to", "c"], ["bidirectional=False", "reverse direction"]),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_error_is_one_line(model, tmp_path, export, monkeypatch, name):
    if "torch" in name:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("no model")
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save("x.npy", np.ones((4, 5)))
    bptt.RNN(2, 3, cell="lstm", peepholes=True).save("peep.safetensors")
    bptt.RNN(2, 3, bidirectional=True).save("both.safetensors")
    model[1].save("net.json")
    before = sorted(tmp_path.iterdir())
    arguments, words = WRONG[name]
    printed, errors, code = export(*arguments)
    assert (printed, code) == ("", 2)
    assert errors.startswith("python -m bptt export: error: ")
    assert errors.count("\n") == 1
    for word in words:
        assert word in errors
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name, library", [("onnx", "onnx"), ("torch", "torch")])
def test_a_missing_package_is_one_line(model, export, monkeypatch, name, library):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"bptt.convert._to_{name}", raising=False)
    _, errors, code = export(model[0], "--to", name)
    assert code == 2
    needs = f"bptt.convert.to_{name} needs {library}, which `pip install {library}` brings"
    assert errors == f"python -m bptt export: error: {needs}\n"


def test_help_names_every_format_and_option(export):
    printed, _, code = export("--help")
    assert not code
    for name, kind in _export.FORMATS.items():
        assert f"  {name:10}{kind.meaning}\n" in printed
        assert all(f"  --{option.replace('_', '-')}" in printed for option in kind.options)


def test_as_a_command(model, tmp_path):
    command = [sys.executable, "-m", "bptt", "export", model[0], "--to", "c", "--output", tmp_path / "none"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("python -m bptt export: error: [Errno 2] ")
