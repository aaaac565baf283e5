"""Mutated files of RTNeural and NAM for mutate.py: their bytes, and the values of their JSON."""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
from mutate_model import VALUES, mutate_bytes, strict_json

import bptt

NETWORKS = [
    ("rtneural", {"input_size": 1, "hidden_size": 3, "output_size": 1, "cell": "lstm"}),
    ("rtneural", {"input_size": 2, "hidden_size": 2, "output_size": 2, "cell": "gru", "num_layers": 2}),
    ("rtneural", {"input_size": 2, "hidden_size": 2, "cell": "gru"}),
    ("nam", {"input_size": 1, "hidden_size": 3, "output_size": 1, "cell": "lstm", "learn_state": True}),
    ("nam", {"input_size": 2, "hidden_size": 2, "output_size": 3, "cell": "lstm", "num_layers": 2}),
]
FIELDS = {
    "rtneural": {"in_skip": 1, "in_gain": -3.0, "samplerate": 44100, "metadata": {"name": "amp"}},
    "nam": {"sample_rate": 48000.0, "metadata": {"loudness": -18.0, "gain": None}},
}
KEYS = [
    *("in_shape", "layers", "type", "activation", "shape", "weights", *FIELDS["rtneural"], "out_gain", "sample_rate"),
    *("version", "architecture", "config", "input_size", "hidden_size", "num_layers", "in_channels", "out_channels"),
]
WORDS = ["dense", "time-distributed-dense", "conv1d", "0.5.0", "0.9.0", "LSTM", "WaveNet", [None, None, 3], [2]]


@functools.cache
def seeds() -> list[bytes]:
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (kind, options) in enumerate(NETWORKS):
            rnn, path = bptt.RNN(**options, seed=number), Path(folder, "model")
            if rnn.learn_state:
                rnn.params += 0.1
            getattr(bptt.convert, f"to_{kind}")(rnn, path, **FIELDS[kind])
            files.append(path.read_bytes())
    return files


# ---- mutations -------------------------------------------------------------------------------------------


def mutate(data, rng) -> bytes:
    how = rng.choice([mutate_bytes, mutate_values, mutate_values, mutate_values])
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        data = how(data, rng)
    return data


def mutate_values(data, rng) -> bytes:
    """One value of the JSON, at any depth, changed."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_bytes(data, rng)
    container = tree
    while isinstance(container, (dict, list)) and container:
        key = rng.choice([*container] if isinstance(container, dict) else range(len(container)))
        if not isinstance(container[key], (dict, list)) or rng.random() < 0.4:
            change(container, key, rng)
            break
        container = container[key]
    return json.dumps(tree).encode()


def change(container, key, rng):
    how = rng.randrange(6)
    if how == 0:
        del container[key]
    elif how == 1 and isinstance(container, list):
        container.insert(key, container[key])
    elif how == 2 and isinstance(container, dict):
        container[rng.choice(KEYS)] = container.pop(key)
    elif how == 3 and isinstance(container[key], list):
        rng.shuffle(container[key])
    else:
        container[key] = rng.choice([*VALUES, *WORDS])


# ---- the network that a file describes ---------------------------------------------------------------------


def read(path):
    kind = "nam" if b'"architecture"' in path.read_bytes() else "rtneural"
    rnn, fields = getattr(bptt.convert, f"from_{kind}")(path, with_fields=True)
    file = strict_json(path.read_bytes())
    for name, value in fields.items():
        assert float(file[name]) == value if "gain" in name else file[name] == value
    expected = nam_numbers(file) if kind == "nam" else rtneural_numbers(file, rnn)
    assert np.array_equal(rnn.params[rnn.params != 0], expected[expected != 0])  # b_hh is zero
    return rnn


def nam_numbers(file):
    """The parameters in bptt's order, without b_hh."""
    config, numbers = file["config"], np.array(file["weights"], np.float32)
    I, H = config["input_size"], config["hidden_size"]
    parts, states = [], []
    for layer in range(config["num_layers"]):
        width = (H if layer else I) + H
        weight, bias, h0, c0, numbers = np.split(numbers, np.cumsum([4 * H * width, 4 * H, H, H]))
        weight = weight.reshape(4 * H, width)
        parts += [weight[:, :-H], weight[:, -H:], bias]
        states.append((h0, c0))
    return flat([*parts, numbers, *(state[which] for which in (0, 1) for state in states)])


def rtneural_numbers(file, rnn):
    parts = []
    for layer in file["layers"]:
        weights = [np.array(array, np.float32) for array in layer["weights"]]
        if layer["type"] == "gru":  # z,r,h here, r,z,n in bptt
            H = rnn.hidden_size
            order = np.r_[H : 2 * H, :H, 2 * H : 3 * H]
            weights = [array[..., order] for array in weights]
        kernels = 1 if "dense" in layer["type"] else 2
        parts += [array.T for array in weights[:kernels]] + weights[kernels:]
    return flat(parts)


def flat(parts):
    return np.concatenate([part.ravel() for part in parts])
