"""Reading safetensors files: the header first, then the data, straight into the arrays that it is meant for.

A file is read, not mapped: a mapped file that another program cuts short kills the process.
"""

from __future__ import annotations

import math
import os
import reprlib
import stat
import sys
from typing import Any

import numpy as np

from ._description import object_from_json

MOST_HEADER = 1 << 25  # bytes: above twice the header of the network with most layers
TYPES = {f"{name[0].upper()}{bits}": f"{name}{bits}" for name in ("int", "uint") for bits in (8, 16, 32, 64)}
TYPES |= {"BOOL": "bool", "F16": "float16", "F32": "float32", "F64": "float64"}
"""NumPy's names of the types that files of bptt have, by the names in a header."""


def read_header(file) -> tuple[dict[str, Any], dict[str, str]]:
    """({name: entry} of the tensors, the metadata). What the entries say is not checked yet."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it must be a regular file")
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(status.st_size - 8, MOST_HEADER):
        raise ValueError(f"not a whole safetensors file: a header of {length} in {status.st_size} bytes")
    tensors = object_from_json(file.read(length).decode())
    metadata = tensors.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"its metadata must be texts by name, got {reprlib.repr(metadata)}")
    return tensors, metadata


def check_data(file, tensors) -> None:
    """Raise a ValueError unless the tensors fill the rest of the file, whose header was read, without a gap."""
    end = 0
    for name, entry in in_file_order(tensors):
        begin, end = end, end + math.prod(entry["shape"]) * np.dtype(TYPES[entry["dtype"]]).itemsize
        if entry["data_offsets"] != [begin, end]:
            raise ValueError(f"the tensor {reprlib.repr(name)} does not lie at the bytes {begin} to {end}")
    found = os.fstat(file.fileno()).st_size - file.tell()
    if found != end:
        raise ValueError(f"not a whole safetensors file: {found} bytes of data, its tensors have {end}")


def read_data(file, tensors, arrays) -> None:
    """Fill C-contiguous {name: array}, of the types and shapes that check_data found in the header."""
    for name, _ in in_file_order(tensors):
        array = arrays[name].reshape(-1)
        if file.readinto(array.view(np.uint8)) != array.nbytes:
            raise ValueError("it became shorter while it was read")
        if sys.byteorder == "big":
            array.byteswap(inplace=True)


def in_file_order(tensors) -> list[tuple[str, dict[str, Any]]]:
    """(name, entry) of the tensors by where their data begins. A ValueError for an entry that is malformed."""
    for name, entry in tensors.items():
        if not _is_tensor(entry):
            raise ValueError(f"the tensor {reprlib.repr(name)} is {reprlib.repr(entry)}")
    return sorted(tensors.items(), key=lambda item: item[1]["data_offsets"])


def _is_tensor(entry) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str) or entry["dtype"] not in TYPES:
        return False
    sizes = (entry.get("shape"), entry.get("data_offsets"))
    return all(isinstance(size, list) and all(type(n) is int and n >= 0 for n in size) for size in sizes)
