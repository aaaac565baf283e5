"""bptt.convert is loaded, as are the libraries that its functions need, when it is asked for."""

import subprocess
import sys

import numpy as np
import pytest

import bptt

LIBRARIES = {"torch", "onnx", "keras"}


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_import_of_bptt_loads_no_converter():
    found = run("import sys, bptt; print(*sys.modules)")
    assert "bptt" in found
    assert not [name for name in found if name.startswith("bptt.convert") or name.split(".")[0] in LIBRARIES]


def test_import_of_convert_loads_no_other_library():
    found = run("import sys, bptt.convert; print(*sys.modules)")
    assert "bptt.convert" in found
    assert not LIBRARIES & set(found)


def test_names_are_found_after_import_of_bptt_alone():
    assert run("import bptt; print(bptt.convert.to_keras_weights.__name__)") == ["to_keras_weights"]


def test_every_name_is_the_function_of_that_name():
    listed = dir(bptt.convert)
    for name in bptt.convert.__all__:
        try:
            function = getattr(bptt.convert, name)
        except ModuleNotFoundError as error:
            assert error.name in LIBRARIES  # noqa: PT017
            assert name not in listed
        else:
            assert (function.__name__, callable(function)) == (name, True)
            assert getattr(bptt.convert, name) is function
            assert name in listed


def test_a_missing_library_is_named_and_help_works_without_it():
    code = """
import pydoc, sys
import bptt

sys.modules["onnx"] = None  # as if it were not installed
assert "to_keras_weights" in pydoc.render_doc(bptt.convert)
try:
    bptt.convert.to_onnx
except ModuleNotFoundError as error:
    print(error)
"""
    text = " ".join(run(code))
    assert text == "bptt.convert.to_onnx needs onnx, which `pip install onnx` brings"


def test_the_modules_of_torch_without_torch():
    code = """
import sys
import bptt

try:
    bptt.torch
except AttributeError as error:
    print(error)
sys.modules["torch"] = None  # as if it were not installed
try:
    import bptt.torch
except ModuleNotFoundError as error:
    print(error)
"""
    text = " ".join(run(code))
    assert "'bptt' has no attribute 'torch', write `import bptt.torch`" in text
    assert text.endswith("bptt.torch needs torch, which `pip install torch` brings")


def test_other_names_are_attribute_errors():
    with pytest.raises(AttributeError, match=r"module 'bptt.convert' has no attribute 'from_numpy'"):
        bptt.convert.from_numpy  # noqa: B018


# ---- arguments that do not fit


@pytest.mark.parametrize("name", ["to_torch", "to_keras_weights", "to_onnx"])
def test_only_networks_are_converted(tmp_path, name):
    pytest.importorskip(name.split("_")[1] if name != "to_keras_weights" else "bptt")
    path = [tmp_path / "model.onnx"] if name == "to_onnx" else []
    with pytest.raises(TypeError, match=r"rnn must be a bptt.RNN, got dict"):
        getattr(bptt.convert, name)({}, *path)


def changed_module(change, kind="GRU"):
    torch = pytest.importorskip("torch")
    module = getattr(torch.nn, kind)(3, 4)
    change(torch, module)
    return module


def parameter(name, *shape):
    def change(torch, module):
        setattr(module, name, torch.nn.Parameter(torch.zeros(shape)))

    return change


def sparse(torch, module):
    module.weight_ih_l0 = torch.nn.Parameter(torch.zeros(12, 3).to_sparse())


@pytest.mark.parametrize("change, text", [
    (parameter("weight_ih_l0", 1, 3), r"module.weight_ih_l0 must be a tensor of shape \(12, 3\), got \(1, 3\)"),
    (parameter("bias_hh_l0", 1), r"module.bias_hh_l0 must be a tensor of shape \(12,\), got \(1,\)"),
    (lambda torch, module: setattr(module, "hidden_size", 10**6), r"weight_ih_l0 must be .* \(3000000, 3\), got"),
    (lambda torch, module: setattr(module, "num_layers", 2), "module.weight_ih_l1 must be .*, got NoneType"),
    (lambda torch, module: setattr(module, "num_layers", 10**9), "num_layers must be at most"),
    (lambda torch, module: setattr(module, "mode", "LSTM"), r"weight_ih_l0 must be a tensor of shape \(16, 3\)"),
    (lambda torch, module: delattr(module, "weight_hh_l0"), "module.weight_hh_l0 must be a tensor"),
    (lambda torch, module: module.to("meta"), "module.weight_ih_l0 must have dense values, got meta"),
    (sparse, "module.weight_ih_l0 must have dense values, got cpu and torch.sparse_coo"),
])  # fmt: skip
def test_torch_modules_whose_parameters_do_not_fit(change, text):
    module = changed_module(change)
    with pytest.raises(ValueError, match=text):
        bptt.convert.from_torch(module)


def test_torch_readouts_whose_parameters_do_not_fit():
    torch = pytest.importorskip("torch")
    for name, shape in (("weight", (1, 4)), ("bias", (1,))):
        readout = torch.nn.Linear(4, 2)
        parameter(name, *shape)(torch, readout)
        with pytest.raises(ValueError, match=f"readout.{name} must be a tensor of shape"):
            bptt.convert.from_torch(torch.nn.GRU(3, 4), readout)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("method", ["weight_norm", "spectral_norm", "pruning"])
def test_weights_that_torch_computes_in_each_forward(method):
    """After an optimiser's step they are older than what they are computed from."""
    torch = pytest.importorskip("torch")
    pruning = pytest.importorskip("torch.nn.utils.prune")
    change = {
        "weight_norm": torch.nn.utils.weight_norm,
        "spectral_norm": torch.nn.utils.spectral_norm,
        "pruning": lambda module, name: pruning.l1_unstructured(module, name, 0.5),
    }[method]
    torch.manual_seed(0)
    module, readout = change(torch.nn.GRU(3, 4), "weight_hh_l0"), change(torch.nn.Linear(4, 2), "weight")
    with torch.no_grad():
        for param in (*module.parameters(), *readout.parameters()):
            param += 0.5
        rnn = bptt.convert.from_torch(module.eval(), readout.eval())
        x = torch.ones(5, 2, 3)
        np.testing.assert_allclose(rnn.forward(x)[0], readout(module(x)[0]), atol=1e-5)


def test_a_subclass_of_a_torch_cell():
    torch = pytest.importorskip("torch")

    class Memory(torch.nn.LSTMCell):
        pass

    assert bptt.convert.from_torch(Memory(3, 4)).cell == "lstm"
