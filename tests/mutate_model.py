"""Mutated model files for mutate.py: their bytes, and their header and description as JSON."""

import functools
import json
import os
import tempfile
from pathlib import Path

import numpy as np

import bptt

NETWORKS = [
    {"input_size": 3, "hidden_size": 5},
    {"input_size": 3, "hidden_size": 5, "output_size": 2, "cell": "relu", "dtype": "float64", "batch_first": True},
    {"input_size": 2, "hidden_size": 3, "output_size": 1, "cell": "lstm", "num_layers": 2, "bidirectional": True}
    | {"peepholes": True, "learn_state": True, "dropout": 0.25},
    {"input_size": 1, "hidden_size": 4, "cell": "gru", "bias": False, "reset_after": False, "recurrent_dropout": 0.5},
    {"input_size": 3, "hidden_size": 2, "num_embeddings": 5, "padding_idx": 4},
    {"input_size": 3, "hidden_size": 2, "one_hot": True},
]
DTYPES = {"F32": "<f4", "F64": "<f8"}

VALUES = [
    *(None, True, False, 0, 1, 2, 3, 4, 5, -1, 6, 10_000, 10_001, 20_000, 2**31, 2**40, 2**63 - 1, 2**63, 2**64),
    *(10**400, 0.0, 1.0, 0.25, 0.99, -0.5, 1e308, 1e-320, float("nan"), float("inf"), float("-inf")),
    *("", "tanh", "lstm", "gru", "LSTM", "float32", "float64", "f4", ">f8", "F32", "F64", "I64", "BF16", "\0", "é"),
    *("3,f4", "1" * 5000, [], [1], [3, 5], {}, {"a": 1}, [[[[]]]], [2**62, 4], [0, 0], [0, 2**62]),
]
FIELDS = [
    *("format", "input_size", "hidden_size", "output_size", "cell", "num_layers", "bidirectional", "bias", "dtype"),
    *("reset_after", "peepholes", "dropout", "recurrent_dropout", "learn_state", "batch_first"),
    *("one_hot", "num_embeddings", "padding_idx"),
    *("init", "seed", "threads", "forget_bias", "self", "cls", "path", "spec", "colour"),
]


@functools.cache
def seeds() -> list[bytes]:
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for number, options in enumerate(NETWORKS):
            path = Path(folder, "model")
            bptt.RNN(**options, seed=number).save(path)
            files.append(path.read_bytes())
    return files


# ---- mutations -------------------------------------------------------------------------------------------


def mutate(data, rng) -> bytes:
    how = rng.choice([mutate_bytes, mutate_header, mutate_header, mutate_description, mutate_description])
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        data = how(data, rng)
    return data


def mutate_bytes(data, rng) -> bytes:
    begin = rng.randrange(len(data) + 1) if rng.random() < 0.5 else min(rng.randrange(64), len(data))
    end = min(len(data), begin + rng.choice([0, 1, 1, 4, 8, 100]))
    middle = data[begin:end]
    other = [
        b"",
        middle * 2,
        middle[::-1],
        rng.randbytes(len(middle)),
        rng.randbytes(8),
        bytes(byte ^ (1 << rng.randrange(8)) for byte in middle),
        rng.choice([b"{", b"}", b'"', b"\\", b"[" * 2000, b"0", b"-", b" " * 99, b"\0", b"\xff", b'"bptt":"{}",']),
        rng.choice([0, 1, len(data), 2**16, 2**31, 2**53, 2**64 - 1]).to_bytes(8, "little"),
    ]
    return data[:begin] + rng.choice(other) + data[end if rng.random() < 0.9 else len(data) :]


def mutate_header(data, rng) -> bytes:
    """The safetensors header with a tensor, or a number of a tensor, changed."""
    parts = split(data)
    if parts is None:
        return mutate_bytes(data, rng)
    header, body = parts
    names = [name for name in header if name != "__metadata__" and isinstance(header[name], dict)]
    name = rng.choice(names) if names else "weight_hh_l0"
    tensor = header[name] if names else {}
    change = rng.randrange(9)
    if change == 0:
        header.pop(name, None)
    elif change == 1:
        header[rng.choice(["extra", "weight_hh_l1", "bias_ih_l0 ", "", *names])] = header.pop(name, {})
    elif change == 2:
        tensor[rng.choice(["dtype", "shape", "data_offsets", "extra"])] = rng.choice(VALUES)
    elif change == 3:
        tensor.pop(rng.choice(list(tensor) or [""]), None)
    elif change == 4:
        shape = tensor.get("shape") if isinstance(tensor.get("shape"), list) else [3, 5]
        tensor["shape"] = rng.choice([shape[::-1], shape + [1], shape[:1], [1] + shape])
    elif change == 5:
        header[rng.choice(["__metadata__", name])] = rng.choice(VALUES)
    elif change == 6 and names:
        other = header[rng.choice(names)]
        for key in rng.choice([["data_offsets"], ["data_offsets", "shape"], ["shape"]]):
            tensor[key], other[key] = other.get(key), tensor.get(key)
    elif change == 7:
        begin = rng.randrange(-1, len(body) + 9)
        tensor["data_offsets"] = [begin, begin + rng.randrange(-4, 200)]
    else:
        body = body[: rng.randrange(len(body) + 1)] + bytes(rng.choice([0, 0, 4, 1000]))
    return joined(json.dumps(header), body, rng)


def mutate_description(data, rng) -> bytes:
    """The JSON of bptt in the metadata: a field changed, or what Python's parser takes and others do not."""
    parts = split(data)
    if parts is None or not isinstance(parts[0].get("__metadata__"), dict):
        return mutate_bytes(data, rng)
    header, body = parts
    metadata = header["__metadata__"]
    text = metadata.get("bptt")
    description = parsed(text)
    field = rng.choice([*FIELDS, *description])
    change = rng.randrange(8)
    if change < 4:
        description[field] = rng.choice(VALUES)
        text = json.dumps(description)
    elif change == 4:
        description.pop(field, None)
        text = json.dumps(description)
    elif change == 5:
        text = f'{{"{field}": {json.dumps(rng.choice(VALUES))}, {json.dumps(description)[1:]}'  # maybe there twice
    elif change == 6:
        brackets = rng.choice(["[", '{"a":']) * rng.choice([10, 1000, 100_000])
        text = rng.choice([brackets, f'{{"{field}": {brackets}', json.dumps(VALUES[:9])])
    else:
        metadata[rng.choice(["bptt", "bptt ", "format", "other"])] = rng.choice([*VALUES, text])
        return joined(json.dumps(header), body, rng)
    metadata["bptt"] = text
    return joined(json.dumps(header), body, rng)


def split(data):
    """(the header as JSON, the bytes after it), or None where the header is no JSON object."""
    size = int.from_bytes(data[:8], "little")
    header = parsed(data[8 : 8 + size])
    return (header, data[8 + size :]) if header else None


def parsed(text) -> dict:
    """The JSON object, {} for anything else."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def joined(header, body, rng) -> bytes:
    header = header.encode()
    header += b" " * rng.choice([-len(header) % 8, -len(header) % 8, 0, 1])
    return len(header).to_bytes(8, "little") + header + body


# ---- the network that a file describes ---------------------------------------------------------------------


def read(path):
    rnn = bptt.RNN.load(path)
    check(os.fspath(path), rnn)
    return rnn


def check(path, rnn):
    """Compares a network with what another reader of the file finds in it."""
    data = Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = strict_json(data[8 : 8 + size])
    description = strict_json(header.pop("__metadata__")["bptt"])
    assert type(description["format"]) is int
    assert description.pop("format") == 1
    for name, value in rnn.description().items():
        found = description.pop(name, VALUES)
        if found is VALUES:
            assert name not in ("input_size", "hidden_size")
        elif isinstance(value, float):
            assert type(found) in (int, float)
            assert found == value
        else:
            assert (type(found), found) == (type(value), value), name
    assert not description
    body, views = data[8 + size :], rnn.param_views()
    assert set(views) == set(header)
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        array = np.frombuffer(body[begin:end], DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
        assert array.dtype == views[name].dtype
        assert array.shape == views[name].shape
        assert array.tobytes() == views[name].tobytes()


def strict_json(text):
    return json.loads(text, object_pairs_hook=without_duplicates, parse_constant=refuse)


def without_duplicates(pairs):
    assert len({key for key, _ in pairs}) == len(pairs), "a key that is there twice"
    return dict(pairs)


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")
