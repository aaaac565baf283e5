"""JSON files of networks in other programs' formats.

They are other people's: a file is read whole and its parts are checked before a network is made of them.
"""

import json
import os
import reprlib
import stat

import numpy as np

from .._checks import brief, number
from .._description import object_from_json
from .._files import file_name, naming, open_at_once, write_whole

MOST_BYTES = 2**28  # of a file; its lists may take twenty times as many
NAMES = {dict: "an object", list: "a list", str: "a string"}  # of types, in errors


def read_object(path, kind):
    """The JSON object that a file holds; ValueError, which names the file and this kind, for anything else."""
    path = file_name(path)
    with naming(path), open(path, "rb", opener=open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"path must name a regular file, got {path}")
        if status.st_size > MOST_BYTES:
            raise ValueError(f"path must name a file of at most {MOST_BYTES} bytes, {path} has {status.st_size}")
        data = file.read()
    try:
        return object_from_json(data.decode())
    except ValueError as error:  # of UTF-8 and JSON, too
        raise ValueError(f"path must name {kind}, got {path}: {error}") from error


def write_object(path, value):
    """Write JSON: the whole file or, where that fails, nothing."""
    write_whole(file_name(path), json.dumps(value, allow_nan=False).encode())


def json_object(value, name):
    """A dict that JSON holds as it is."""
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be a dict, got {brief(value)}")
    try:
        return object_from_json(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise type(error)(f"{name} must hold what JSON can: {error}") from None


def positive(value, name):
    """A number above 0, an int where it is whole."""
    x = number(value, name)
    if x <= 0:
        raise ValueError(f"{name} must be above 0, got {value!r}")
    return int(value) if x.is_integer() else x


def given_fields(values, checks):
    """What other programs read beside the network, checked: {name: value} of those that are not None."""
    return {name: check(values[name], name) for name, check in checks.items() if values.get(name) is not None}


def fields_of(file, checks):
    """The same of a file, where a value of a wrong type is a ValueError as all that is wrong with a file."""
    try:
        return given_fields(file, checks)
    except TypeError as error:
        raise ValueError(str(error)) from None


def entry(container, key, kind, where):
    """An entry of a JSON object, which is of this type."""
    value = container.get(key)
    if type(value) is not kind:
        found = reprlib.repr(value) if key in container else "nothing"
        raise ValueError(f"{where}: {key} must be {NAMES[kind]}, got {found}")
    return value


def size(value, where):
    """A size from a JSON file: an integer above 0, not beyond what the core counts with."""
    if type(value) is not int or not 1 <= value < 2**63:
        raise ValueError(f"{where} must be an integer of at least 1, got {reprlib.repr(value)}")
    return value


def array(value, shape, dtype, where):
    """The array of these finite numbers, lists in lists, which has exactly this shape."""
    _check_lists(value, shape, where)
    try:
        wide = np.array(value, np.float64)
    except OverflowError:  # an integer of more digits than a float holds
        wide = np.array(np.inf)
    with np.errstate(over="ignore"):
        result = wide.astype(dtype)
    if not np.isfinite(result).all():
        raise ValueError(f"{where} must hold numbers that {dtype} can hold")
    return result


def _check_lists(value, shape, where):
    if type(value) is not list or len(value) != shape[0]:
        found = len(value) if type(value) is list else reprlib.repr(value)
        raise ValueError(f"{where} must be a list of {shape[0]}, got {found}")
    if len(shape) > 1:
        for index, part in enumerate(value):
            _check_lists(part, shape[1:], f"{where}[{index}]")
    elif not {*map(type, value)} <= {int, float}:
        raise ValueError(f"{where} must hold numbers, got {reprlib.repr(value)}")
