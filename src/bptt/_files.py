"""Model files: safetensors with the network's description as JSON in the metadata."""

import json
import os
import secrets
from contextlib import suppress

import numpy as np
import safetensors
import safetensors.numpy

from ._init import zeros

FORMAT = 1


def save(rnn, path) -> None:
    description = rnn.description() | {"format": FORMAT}
    data = safetensors.numpy.save(rnn.state_dict(), {"bptt": json.dumps(description)})
    write_whole(os.fsdecode(path), data)


def write_whole(path: str, data: bytes) -> None:
    """Write a file beside `path` and rename it: at any moment `path` holds all old bytes or all new ones."""
    path = os.path.realpath(path)  # a link keeps pointing where it did
    beside = f"{path}.{secrets.token_hex(6)}.tmp"
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            os.chmod(beside, os.stat(path).st_mode & 0o777)  # those of the file that is replaced
        os.replace(beside, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def load(cls, path, threads):
    path = os.fsdecode(path)
    with open(path, "rb"):  # a missing or unreadable file is the system's own error
        pass
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise ValueError(f"path must name a model file, got {path}: not a whole safetensors file: {error}") from error
    return _build(cls, path, metadata, tensors, threads)


def _build(cls, path, metadata, tensors, threads):
    if "bptt" not in metadata:
        raise ValueError(f"path must name a model file, got {path}: a safetensors file that bptt did not write")
    try:
        description = json.loads(metadata["bptt"])
        found = description.pop("format")
        if found != FORMAT:
            raise ValueError(f"format {found!r}, this version reads {FORMAT}")
        dtype = np.dtype(description["dtype"])
        rnn = cls(**description, init=zeros, threads=threads)
        for name, tensor in tensors.items():
            if tensor.dtype != dtype:
                raise ValueError(f"tensor {name} is {tensor.dtype}, the description says {dtype}")
        rnn.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, AttributeError, MemoryError) as error:
        raise ValueError(f"path must name a model file, got {path}: its description does not fit: {error}") from error
    return rnn
