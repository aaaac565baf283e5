"""python -m bptt export: a model file in another format."""

import argparse
import io
import json
import os
from dataclasses import dataclass
from inspect import getfullargspec
from pathlib import Path
from typing import Any

import numpy as np

from . import convert
from ._files import write_whole
from ._rnn import RNN


@dataclass(frozen=True)
class Format:
    """What the command line knows of bptt.convert.to_<name>.

    Parameters
    ----------
    meaning : str
        One line for the help.
    suffix : str
        Of the file that is written by default, beside the model.
    options : tuple of str
        The options of the command line that are arguments of the converter.
    """

    meaning: str
    suffix: str
    options: tuple[str, ...] = ()


def _field(text):
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


FORMATS = {
    "c": Format("C99 for firmware and plug-ins: NAME.h and NAME.c", "", ("name", "weights", "inputs")),
    "rtneural": Format("the JSON of RTNeural, for audio plug-ins", ".json", ("field",)),
    "nam": Format("a model of Neural Amp Modeler", ".nam", ("field",)),
    "onnx": Format("an ONNX model", ".onnx", ("state_inputs",)),
    "torch": Format("a state dict of torch.nn modules: embedding, rnn, readout", ".pt"),
}
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {  # (meaning, how argparse takes it)
    "name": ("of the files and the prefix of all names in them; by default that of the model file", {}),
    "weights": ("float32, or int8: a quarter of the flash", {"metavar": "TYPE"}),
    "inputs": ("a .npy file with inputs on which the error of int8 weights is measured", {"metavar": "FILE"}),
    "field": (
        "a field of the format, its value JSON or text; may be given several times",
        {"metavar": "KEY=VALUE", "action": "append", "type": _field},
    ),
    "state_inputs": ("make the initial states inputs of the model", {"action": "store_true", "default": None}),
}

DESCRIPTION = "Convert a model file, as bptt.RNN.save writes it, to another format."
EPILOG = "formats:\n" + "\n".join(f"  {name:10}{kind.meaning}" for name, kind in FORMATS.items())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `export`. An option that was not given is None."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", help="the model file")
    parser.add_argument("--to", required=True, choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    where = "the file to write, with --to c the folder; by default beside the model file"
    parser.add_argument("--output", metavar="PATH", help=where)
    for option, (meaning, how) in OPTIONS.items():
        if formats := _formats_with(option):
            parser.add_argument(_flag(option), help=f"with --to {formats}: {meaning}", **how)


def _flag(option):
    return "--" + option.replace("_", "-")


def _formats_with(option):
    return " or ".join(name for name, kind in FORMATS.items() if option in kind.options)


def export(arguments: argparse.Namespace) -> str:
    """Do what the arguments ask for; returns what to print.

    Raises
    ------
    ValueError, TypeError, OSError, ImportError
        As bptt.RNN.load and the converter; ValueError for an option of another format, for a field that the format does
        not have or that is given twice, and for the model itself as the output.
    """
    kind, model = FORMATS[arguments.to], Path(arguments.model)
    given = {option: value for option, value in vars(arguments).items() if value is not None}
    for option in sorted(OPTIONS.keys() & given.keys() - set(kind.options)):
        raise ValueError(f"{_flag(option)} goes with --to {_formats_with(option)}, got --to {arguments.to}")
    write = WRITERS.get(arguments.to, _write_file)
    output = given.get("output", model.with_suffix(kind.suffix) if kind.suffix else model.parent)
    rnn = RNN.load(model)
    if os.path.exists(output) and os.path.samefile(output, model):
        raise ValueError(f"--output must be another file than the model, got {output}")
    convert_to = getattr(convert, f"to_{arguments.to}")
    return write(convert_to, rnn, os.fspath(output), given | {"name": given.get("name", model.stem)})


def _write_c(to_c, rnn, directory, given):
    options = {"weights": given["weights"]} if "weights" in given else {}
    if "inputs" in given:
        options["x"] = np.load(given["inputs"], allow_pickle=False)
    return str(to_c(rnn, directory, given["name"], **options))


def _write_torch(to_torch, rnn, path, given):
    """The modules as one state dict, which torch.load reads without running code."""
    import torch

    *embedding, module, readout = to_torch(rnn)
    names = {"embedding": embedding[0] if embedding else None, "rnn": module, "readout": readout}
    modules = torch.nn.ModuleDict({name: module for name, module in names.items() if module is not None})
    data = io.BytesIO()
    torch.save(modules.state_dict(), data)
    write_whole(path, data.getvalue())
    return f"{path}: {', '.join(f'{name} {module}' for name, module in modules.items())}"


def _write_file(converter, rnn, path, given):
    options = _fields(given.get("field", ()), converter)
    if "state_inputs" in given:
        options["state_inputs"] = True
    converter(rnn, path, **options)
    return f"{path}: {rnn!r}"


def _fields(pairs, converter):
    """{name: value} of the pairs, where each name is a keyword argument of the converter."""
    names = getfullargspec(converter).kwonlyargs
    fields = {}
    for name, value in pairs:
        if name not in names:
            raise ValueError(f"--field must be one of {', '.join(names)}, got {name}")
        if name in fields:
            raise ValueError(f"--field must give a name once, got {name} twice")
        fields[name] = value
    return fields


WRITERS = {"c": _write_c, "torch": _write_torch}  # of the others, a file by _write_file
