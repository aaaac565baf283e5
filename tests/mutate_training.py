"""Mutated training files for mutate.py: their bytes, their header, and the tree of JSON that says what they hold."""

import functools
import json
import pickle
import tempfile
from pathlib import Path

import numpy as np
from mutate_model import VALUES, joined, mutate_bytes, mutate_header, parsed, split, strict_json

import bptt
from bptt._training_file import captured, write_state

KEY = "bptt_training"
NUMPY = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BOOL": "?"}
NUMPY |= {f"{kind.upper()}{8 * size}": f"<{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)}
TREES = [
    *({"array": "params"}, {"scalar": "more['epoch']"}, {"float": "nan"}, {"float": "1"}, {"tuple": [1, 2]}),
    *({"dict": {}}, {"dict": {"state": []}}, {"generator": {"dict": {"bit_generator": "PCG64"}}}, {"tuple": 5}),
    *({"generator": {"dict": {"bit_generator": "PCG64", "state": {"dict": {}}}}}, {"array": ["x"]}, {"array": "x"}),
    {"generator": {"dict": {"bit_generator": "object"}}},
]

# ---- seeds -----------------------------------------------------------------------------------------------


def _objects(number):
    """The networks and optimisers of the number-th seed, new ones."""
    if number == 0:
        rnn = bptt.RNN(2, 3, 1, seed=0)
        return [rnn], [bptt.Adam(rnn.params, rnn.grads, lr=0.01)]
    if number == 1:
        rnn = bptt.RNN(1, 2, cell="lstm", num_layers=2, dropout=0.5, learn_state=True, dtype="float64", seed=1)
        return [rnn], [bptt.SGD(rnn.params, rnn.grads, lr=0.1, momentum=0.9)]
    if number == 2:
        rnns = [bptt.RNN(1, 2, seed=2), bptt.RNN(2, 2, cell="gru", one_hot=True, seed=3)]
        return rnns, [bptt.RMSprop(rnns[0].params, rnns[0].grads), bptt.Adagrad(rnns[1].params, rnns[1].grads)]
    return [bptt.RNN(2, 1, seed=4)], []


SEEDS = 4


def _more(number):
    rng = np.random.default_rng(number)
    more = [
        {"epoch": 3, "rng": rng, "losses": [0.5, float("inf")]},
        {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "b": (1, None, True, "é"), "c": np.float32(0.5)},
        {"old": np.random.Generator(np.random.MT19937(1)), "philox": np.random.Generator(np.random.Philox(2))},
        {"deep": {"er": [{"x": (np.zeros(0), np.ones((), bool))}]}},
    ]
    return more[number]


@functools.cache
def seeds() -> list[bytes]:
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(SEEDS):
            networks, optimizers = _objects(number)
            for rnn in networks:
                rnn.grads[:] = 0.5
            for optimizer in optimizers:
                optimizer.step()
            path = Path(folder, "run")
            bptt.save_training(path, networks, optimizers, **_more(number))
            files.append(path.read_bytes())
        history = Path(folder, "fit")
        x = np.zeros((4, 2, 2), np.float32)
        bptt.fit(bptt.RNN(2, 1, seed=4), x, x[..., :1], epochs=1, optimizer="sgd", resume=history, progress=False)
        files.append(history.read_bytes())
    return files


# ---- mutations -------------------------------------------------------------------------------------------


def mutate(data, rng) -> bytes:
    how = rng.choice([mutate_bytes, mutate_header, mutate_tree, mutate_tree, mutate_tree])
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        data = how(data, rng)
    return data


def mutate_tree(data, rng) -> bytes:
    """One value of the tree, at any depth, changed, moved or taken away."""
    parts = split(data)
    if parts is None or not isinstance(parts[0].get("__metadata__"), dict):
        return mutate_bytes(data, rng)
    header, body = parts
    metadata = header["__metadata__"]
    tree = parsed(metadata.get(KEY))
    places = list(_places(tree))
    if not places:
        return mutate_bytes(data, rng)
    container, key = rng.choice(places)
    how = rng.randrange(7)
    if how == 0:
        del container[key]
    elif how == 1:
        container[key] = rng.choice(VALUES)
    elif how == 2:
        container[key] = json.loads(json.dumps(rng.choice(TREES)))
    elif how == 3:
        other, place = rng.choice(places)
        container[key], other[place] = json.loads(json.dumps([other[place], container[key]]))
    elif how == 4 and isinstance(container, dict):
        container[rng.choice([*metadata, "networks", "more", "kind", "x", "array", "tuple"])] = container.pop(key)
    elif how == 5:
        container[key] = {rng.choice(["array", "tuple", "dict", "generator", "scalar", "nothing"]): container[key]}
    else:
        container[key] = rng.choice([[], {}, {"dict": {"a": container[key]}}, [container[key]] * 3])
    metadata[KEY] = json.dumps(tree)
    return joined(json.dumps(header), body, rng)


def _places(value):
    """(container, key) of every value within."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from _places(item)


# ---- the state that a file describes -----------------------------------------------------------------------


def read(path):
    """Load the file into the objects of the seed that it is most like. Their state, and `more`, must be those of the
    file; one that is refused must change nothing."""
    number = _seed_like(path.read_bytes())
    networks, optimizers = _objects(number)
    before = pickle.dumps(captured(networks, optimizers))
    try:
        more = bptt.load_training(path, networks, optimizers)
    except ValueError:
        assert pickle.dumps(captured(networks, optimizers)) == before, "a refused file changed the objects"
        raise
    _compare(path, networks)
    _read_again(path, number, networks, optimizers, more)
    return networks[0]


def _seed_like(data):
    """The number of the seed with networks of these sizes, 0 if there is none."""
    parts = split(data)
    metadata = parts[0].get("__metadata__") if parts else None
    tree = parsed(metadata.get(KEY)) if isinstance(metadata, dict) else {}
    for number in range(SEEDS):
        sizes = [{"input_size": rnn.input_size, "hidden_size": rnn.hidden_size} for rnn in _objects(number)[0]]
        try:
            if sizes == [{name: one["dict"]["spec"]["dict"][name] for name in sizes[0]} for one in tree["networks"]]:
                return number
        except (KeyError, TypeError):
            break
    return 0


def _bytes_of(path, networks, optimizers, more):
    """The training file of these objects."""
    copy = path.with_name(f"{path.name}.copy")
    write_state(str(copy), captured(networks, optimizers) | {"kind": "loop", "more": more})
    data = copy.read_bytes()
    copy.unlink()
    return data


def _read_again(path, number, networks, optimizers, more):
    """What is written from the loaded state reads as the same."""
    data = _bytes_of(path, networks, optimizers, more)
    again = path.with_name(f"{path.name}.again")
    again.write_bytes(data)
    fresh = _objects(number)
    try:
        assert _bytes_of(path, *fresh, bptt.load_training(again, *fresh)) == data, "another state after saving it"
    finally:
        again.unlink()


def _compare(path, networks):
    """The parameters against another reader of the file."""
    data = Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = strict_json(data[8 : 8 + size])
    tree = strict_json(header["__metadata__"][KEY])
    body = data[8 + size :]
    for rnn, held in zip(networks, tree["networks"], strict=True):
        params = held["dict"]["params"]["dict"]
        assert set(params) == set(rnn.param_views())
        for name, view in rnn.param_views().items():
            value = params[name]
            if not isinstance(value, dict) or "array" not in value:
                continue  # a number or a list, as load_state_dict takes them too
            tensor = header[value["array"]]
            begin, end = tensor["data_offsets"]
            array = np.frombuffer(body[begin:end], NUMPY[tensor["dtype"]]).reshape(tensor["shape"])
            np.testing.assert_array_equal(view, array.astype(view.dtype))
