"""Tensors of an ONNX model as arrays. Their bytes are counted before anything is allocated."""

import math
import os

import numpy as np
from onnx import TensorProto, helper, numpy_helper

TYPES = {
    *(TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BOOL),
    *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
    *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
}
MOST_AXES = 32
DATA_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def tensor_array(tensor, folder):
    """The values of a TensorProto.

    Parameters
    ----------
    tensor : onnx.TensorProto
        The tensor.
    folder : str or None
        The model's folder, where the files of external data lie. None: there is none.

    Raises
    ------
    ValueError
        If the tensor does not hold as many values as its shape says, and for types other than real numbers.
    """
    try:
        return _array(tensor, folder)
    except ValueError as error:
        raise ValueError(f"tensor {tensor.name}: {error}") from None


def _array(tensor, folder):
    if tensor.data_type not in TYPES:
        raise ValueError(f"its type {_type_name(tensor.data_type)} is not supported")
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    if len(tensor.dims) > MOST_AXES:
        raise ValueError(f"its shape must have at most {MOST_AXES} axes, got {len(tensor.dims)}")
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise ValueError(f"its shape {shape} has a negative size")
    count = math.prod(shape)
    filled = [name for name in DATA_FIELDS if len(getattr(tensor, name))]
    external = tensor.data_location == TensorProto.EXTERNAL
    if tensor.HasField("segment") or len(filled) + tensor.HasField("raw_data") + external > 1:
        raise ValueError("its values must lie in one place")
    if external:
        data = _external_data(tensor, folder, count * dtype.itemsize)
    elif tensor.HasField("raw_data"):
        data = tensor.raw_data
    else:
        return _from_field(tensor, filled, count, dtype)
    if len(data) != count * dtype.itemsize:
        raise ValueError(f"shape {shape} needs {count * dtype.itemsize} bytes, it has {len(data)}")
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)


def _from_field(tensor, filled, count, dtype):
    """The values of a tensor that keeps them in the field of its type."""
    field = helper.tensor_dtype_to_field(tensor.data_type)
    found = len(getattr(tensor, field))
    if filled not in ([], [field]) or found != count:
        raise ValueError(f"shape {tuple(tensor.dims)} needs {count} values in {field}, it has {found}")
    if not count:
        return np.zeros(tuple(tensor.dims), dtype)
    return numpy_helper.to_array(tensor)


def _external_data(tensor, folder, size):
    """The bytes of a tensor that lie in a file beside the model."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise ValueError(f"its values lie in the file {location!r}: give the path of the model")
    folder = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(folder, location))
    if os.path.commonpath([folder, path]) != folder or not os.path.isfile(path):
        raise ValueError(f"its location must be a file in the folder of the model, got {location!r}")
    offset, length = (_byte_count(entries, key, default) for key, default in (("offset", "0"), ("length", str(size))))
    if length != size:
        raise ValueError(f"shape {tuple(tensor.dims)} needs {size} bytes, its length in {location!r} is {length}")
    with open(path, "rb") as file:
        available = os.fstat(file.fileno()).st_size - offset
        if available < size:
            raise ValueError(f"{location!r} must have {size} bytes from offset {offset} on, has {available}")
        file.seek(offset)
        return file.read(size)


def _byte_count(entries, key, default):
    text = entries.get(key, default)
    if not (text.isdecimal() and len(text) < 19):
        raise ValueError(f"its {key} must be a number of bytes, got {text[:40]!r}")
    return int(text)


def _type_name(number):
    return TensorProto.DataType.Name(number) if number in TensorProto.DataType.values() else number
