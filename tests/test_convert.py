"""bptt.convert is loaded, as are the libraries that its functions need, when it is asked for."""

import subprocess
import sys

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


def test_other_names_are_attribute_errors():
    with pytest.raises(AttributeError, match=r"module 'bptt.convert' has no attribute 'from_numpy'"):
        bptt.convert.from_numpy  # noqa: B018
