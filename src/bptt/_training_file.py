"""Training files: what a training needs to go on exactly where it was. safetensors, a tree of JSON in the metadata."""

from __future__ import annotations

import copy
import json
import os
from contextlib import contextmanager

import numpy as np
import safetensors.numpy

from ._checks import brief
from ._description import object_from_json
from ._files import FORMAT, file_name, naming, open_at_once, write_whole
from ._optim import _Optimizer
from ._rnn import RNN
from ._safetensors import MOST_HEADER, TYPES, check_data, read_data, read_header
from ._stored import Store, decoded

KEY = "bptt_training"
"""of the metadata"""
MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""What reading a tree raises that bptt did not write."""


def save_training(path: str | os.PathLike[str], rnn, optimizer=None, **more) -> None:
    """Write all that a training loop of your own needs to go on exactly where it was, for load_training.

    ``bptt.fit(resume=path)`` writes such a file by itself.

    Parameters
    ----------
    path : str or path-like
        The file, replaced as a whole: at any moment it holds all of the old state or all of the new one.
    rnn : bptt.RNN or list of them
        Their parameters, and what dropout draws next, are saved.
    optimizer : optimiser or list of them, optional
        Objects with state_dict() and load_state_dict(), as those of bptt have them.
    **more
        What else the loop keeps, by name: None, bools, numbers, texts, arrays (real numbers or bools), numpy
        Generators, and lists, tuples and dicts (with keys of text) of such.

    Raises
    ------
    TypeError
        If a value is none of these; the error names it by its path, such as ``more['losses'][3]``.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, os, numpy as np, bptt
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> rnn, rng = bptt.RNN(1, 4, 1, seed=0), np.random.default_rng(0)
    >>> adam = bptt.Adam(rnn.params, rnn.grads)
    >>> bptt.save_training(path, rnn, adam, epoch=3, rng=rng, losses=[0.5, 0.25])
    >>> more = bptt.load_training(path, rnn, adam)
    >>> more["epoch"], more["losses"], more["rng"].random() == rng.random()
    (3, [0.5, 0.25], True)
    """
    path = file_name(path)
    write_state(path, captured(networks_of(rnn), optimizers_of(optimizer)) | {"kind": "loop", "more": more})


def load_training(path: str | os.PathLike[str], rnn, optimizer=None) -> dict[str, object]:
    """Give a network and its optimiser the state that save_training wrote.

    Parameters
    ----------
    path : str or path-like
        A file of save_training, or of ``bptt.fit(resume=path)``.
    rnn : bptt.RNN or list of them
        Made with the same arguments as those that were saved, but for init, seed and threads.
    optimizer : optimiser or list of them, optional
        Of the same kinds, with the same hyperparameters; lr comes from the file.

    Returns
    -------
    dict of str to object
        The values of ``**more``, of the same types and with the same bits.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a whole training file, or of another network or optimiser: the error says what differs. Nothing is
        changed then.
    """
    path = file_name(path)
    networks, optimizers = networks_of(rnn), optimizers_of(optimizer)
    state = read_state(path)
    with naming_file(path):
        check_same(state, networks, optimizers)
        apply(state, networks, optimizers)
    return state["more"]


# ---- the objects ------------------------------------------------------------------------------------------


def networks_of(rnn) -> list[RNN]:
    networks = list(rnn) if isinstance(rnn, (list, tuple)) else [rnn]
    for network in networks:
        if not isinstance(network, RNN):
            raise TypeError(f"rnn must be a bptt.RNN or a list of them, got {brief(network)}")
    return networks


def optimizers_of(optimizer) -> list:
    if optimizer is None:
        return []
    optimizers = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer]
    for one in optimizers:
        if isinstance(one, type) or not (hasattr(one, "state_dict") and hasattr(one, "load_state_dict")):
            raise TypeError(f"optimizer must have state_dict() and load_state_dict() to be saved, got {brief(one)}")
    return optimizers


def captured(networks, optimizers) -> dict:
    """A copy of the state of these objects."""
    return {
        "networks": [
            {"spec": rnn.description(), "params": rnn.state_dict(), "dropout": rnn.dropout_state} for rnn in networks
        ],
        "optimizers": [{"kind": kind_of(one), "state": _state_of(one)} for one in optimizers],
    }


def kind_of(optimizer) -> str:
    """The optimiser's class and, where it is bptt's, its hyperparameters but lr."""
    name = type(optimizer).__name__
    if not isinstance(optimizer, _Optimizer):
        return name
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in optimizer.hyperparameters().items())})"


def _state_of(optimizer):
    state = optimizer.state_dict()
    return state if isinstance(optimizer, _Optimizer) else copy.deepcopy(state)


def check_same(state, networks, optimizers) -> None:
    """A ValueError that says what differs, unless the state is one of such networks and optimisers."""
    held, kinds = state["networks"], [one["kind"] for one in state["optimizers"]]
    if len(held) != len(networks):
        raise ValueError(f"it holds {len(held)} networks, rnn has {len(networks)}")
    for i, (one, rnn) in enumerate(zip(held, networks, strict=True)):
        which = "another network" if len(networks) == 1 else f"another network than rnn[{i}]"
        check_equal(one["spec"], rnn.description(), f"it holds {which}")
    if kinds != (here := [kind_of(one) for one in optimizers]):
        raise ValueError(f"it holds the optimisers [{', '.join(kinds)}], optimizer is [{', '.join(here)}]")


def check_equal(there, here, what) -> None:
    """A ValueError that says in which entries two dicts differ, if they do."""
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if names:
        theirs = ", ".join(f"{name}={there.get(name)!r}" for name in names)
        ours = ", ".join(f"{name}={here.get(name)!r}" for name in names)
        raise ValueError(f"{what}: {theirs}; this one has {ours}")


def apply(state, networks, optimizers) -> None:
    """Give the objects their state; if one of them refuses it, all keep what they had."""
    before = captured(networks, optimizers)
    try:
        _give(state, networks, optimizers)
    except BaseException:
        _give(before, networks, optimizers)
        raise


def _give(state, networks, optimizers):
    for one, rnn in zip(state["networks"], networks, strict=True):
        rnn.load_state_dict(one["params"])
        rnn.dropout_state = one["dropout"]
    for one, optimizer in zip(state["optimizers"], optimizers, strict=True):
        optimizer.load_state_dict(one["state"])


# ---- the file ---------------------------------------------------------------------------------------------


def write_state(path: str, state: dict) -> None:
    store = Store()
    try:
        encoded = {name: store.encoded(value, name) for name, value in state.items()}
    except RecursionError:
        raise ValueError("more must not be nested so deeply") from None
    text = json.dumps({"format": FORMAT} | encoded)
    if len(text) > MOST_HEADER // 2:  # which is JSON in JSON: quotes become two characters
        raise ValueError(f"more must be below {MOST_HEADER // 2} bytes of JSON, got {len(text)}: use arrays")
    write_whole(path, safetensors.numpy.save(store.arrays, {KEY: text}))


def read_state(path: str, argument="path") -> dict:
    with naming_file(path, argument):
        with naming(path), open(path, "rb", opener=open_at_once) as file:
            tensors, metadata = read_header(file)
            tree = _tree(metadata)
            check_data(file, tensors)
            arrays = {name: np.empty(entry["shape"], TYPES[entry["dtype"]]) for name, entry in tensors.items()}
            read_data(file, tensors, arrays)
        state = {name: decoded(value, arrays) for name, value in tree.items()}
        for one in state["networks"]:
            check_kinds(one, {"spec": dict, "params": dict, "dropout": tuple})
        for one in state["optimizers"]:
            check_kinds(one, {"kind": str, "state": dict})
        check_kinds(state, {"kind": str, "more": dict})
    return state


@contextmanager
def naming_file(path, argument="path"):
    """What a file lacks is a ValueError that names it, and the argument."""
    try:
        yield
    except MALFORMED as error:
        reason = error if isinstance(error, ValueError) else f"not a whole training file: {error!r}"
        raise ValueError(f"{argument} must name a training file that fits, got {path}: {reason}") from error


def check_kinds(held, kinds):
    for name, kind in kinds.items():
        if not isinstance(held[name], kind):
            raise TypeError(f"{name} is of type {type(held[name]).__name__}")


def _tree(metadata):
    """The tree in the metadata of a training file."""
    text = metadata.get(KEY)
    if text is None:
        kind = "a model file, which bptt.RNN.load reads" if "bptt" in metadata else "not written by bptt"
        raise ValueError(f"it is {kind}")
    tree = object_from_json(text)
    found = tree.pop("format", None)
    if type(found) is not int or found != FORMAT:
        raise ValueError(f"its format is {found!r}, this version reads {FORMAT}")
    return tree
