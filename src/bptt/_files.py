"""Model files: safetensors with the network's description as JSON in the metadata."""

import json
import os
import tempfile

import numpy as np
import safetensors
import safetensors.numpy

from ._init import zeros

FORMAT = 1


def save(rnn, path) -> None:
    description = rnn.description() | {"format": FORMAT}
    data = safetensors.numpy.save(rnn.param_views(), {"bptt": json.dumps(description)})
    write_whole(os.fspath(path), data)


def write_whole(path: str, data: bytes) -> None:
    """Write beside, then replace: at any moment `path` holds the old bytes or the new ones, whole."""
    folder, name = os.path.split(os.path.abspath(path))
    handle, beside = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, _mode_of(path))
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def _mode_of(path):
    """The permissions of the file there is, or those that a new file would get."""
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def load(cls, path, threads):
    path = os.fspath(path)
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
        sizes = (description["hidden_size"], description["input_size"])
        if tensors["weight_ih_l0"].shape != sizes:  # before memory is taken on the word of a description
            raise ValueError(f"weight_ih_l0 is {tensors['weight_ih_l0'].shape}, the description says {sizes}")
        rnn = cls(**description, init=zeros, threads=threads)
        for name, tensor in tensors.items():
            if tensor.dtype != dtype:
                raise ValueError(f"tensor {name} is {tensor.dtype}, the description says {dtype}")
        rnn.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, AttributeError, MemoryError) as error:
        raise ValueError(f"path must name a model file, got {path}: its description does not fit: {error}") from error
    return rnn
