"""Lets the n-th allocation fail, for every n, under what the package does.

    python tests/fail_malloc.py [memory | objects] [STRIDE] [NAME...]

memory: calls of malloc by NumPy, for the data of arrays, and by the core, which also starts threads: fail_malloc.c,
preloaded, lets one fail. The call must end by a MemoryError and leave all as it was, or give the same bits as ever.

objects: allocations of Python's own, by the hook of CPython's tests. NumPy and Python then raise other exceptions too,
and what fails may be the object that holds the results, so that the call was made and its results are lost.

After either, the same call on the same object gives the same bits. Only every STRIDE-th n is tried.
"""

import contextlib
import copy
import ctypes
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import bptt

SOURCE = Path(__file__).with_suffix(".c")
T, B, I, O = 24, 8, 40, 40  # arrays above a kilobyte: NumPy keeps smaller ones for itself


def network(**options):
    return bptt.RNN(I, 24, O, seed=0, threads=1, **{"cell": "lstm", "learn_state": True} | options)


def sequences(seed=0, dtype=np.float64):
    """x and target, of another dtype than the network's: they are converted."""
    return np.random.default_rng(seed).normal(size=(2, T, B, I)).astype(dtype)


def state_of(rnn):
    """What a call that fails may not change."""
    return [rnn.params.copy(), rnn.grads.copy()]


class Case:
    """An object, a call on it, and what must be the same if the call fails."""

    def __init__(self, rnn, call, state=state_of, restore=lambda: None, versions=list):
        self.rnn, self.call = rnn, call
        self.state = lambda: state(rnn)
        self.versions = versions  # more states that a call may leave
        self.drawn = rnn.dropout_state
        self.more = restore

    def restore(self):
        """Before the call comes again: the same dropout, and no gradients."""
        self.rnn.dropout_state = self.drawn
        self.rnn.zero_grad()
        self.more()


# ---- what the package does ---------------------------------------------------------------------------------


def forward(**options):
    rnn, (x, _) = network(), sequences()
    return Case(rnn, lambda: rnn.forward(x, **options))


def ragged():
    """Rows that are sorted, resets, and the batch first."""
    rnn = network(batch_first=True, dropout=0.2, num_layers=2)
    x = np.swapaxes(sequences()[0], 0, 1)
    reset = np.random.default_rng(1).random((B, T)) < 0.1
    return Case(rnn, lambda: rnn.forward(x, lengths=[5, 24, 7, 24, 1, 9, 2, 24], reset=reset))


def backward(**options):
    rnn, (x, dy) = network(**options), sequences()
    rnn.forward(x)
    carry = np.random.default_rng(1).random((T, B))
    return Case(rnn, lambda: rnn.backward(dy, carry=carry, step_clip_norm=1.0))


def params_of(rnn):
    return [rnn.params.copy()]


def windows(make_truncation, **options):
    rnn, (x, target) = network(dropout=0.2, num_layers=2), sequences()

    def call():
        passes = rnn.windows(x, target, truncation=make_truncation(), **options)
        return [(w.loss, w.y.copy(), rnn.grads.copy()) for w in passes]

    return Case(rnn, call, params_of)  # grads are those of the windows that came


def fit():
    """The parameters are those after some whole update."""
    rnn, data = network(), sequences()
    first, versions = rnn.params.copy(), []

    def call():
        versions.clear()
        history = bptt.fit(rnn, *data, epochs=2, batch_size=3, seed=0, progress=False, validation=tuple(sequences(1)),
                           on_update=lambda *_: versions.append([rnn.params.copy()]))  # fmt: skip
        return history.update_loss, rnn.params.copy()

    return Case(rnn, call, params_of, lambda: setattr(rnn, "params", first), lambda: list(versions))


def stream(**options):
    rnn = network()
    s = rnn.stream(B)
    x, out = sequences()[0][0], np.empty((B, O), np.float32)
    call = (lambda: s(x, out=out).tolist()) if options else (lambda: s(x))
    return Case(rnn, call, lambda rnn: [*state_of(rnn), *s.state], s.reset)


def make_stream():
    rnn = network()
    return Case(rnn, lambda: rnn.stream(B).state)


def refresh():
    rnn = network()
    s, x = rnn.stream(B), sequences()[0][0].astype(np.float32)

    def call():
        s.refresh()
        return s(x)

    return Case(rnn, call, lambda rnn: [*state_of(rnn), *s.state], s.reset)


def learner(kind):
    rnn = bptt.RNN(I, 6, O, cell="gru", seed=0)
    learns, (x, dy) = kind(rnn, B), sequences()

    def call():
        y = learns(x[0])
        learns.backward(dy[0])
        return y, rnn.grads.copy()

    return Case(rnn, call, params_of, learns.reset)


def make():
    rnn = network()
    return Case(rnn, lambda: network(num_layers=2, bidirectional=True).params)


def copies():
    rnn = network(dropout=0.2, num_layers=2)
    return Case(
        rnn, lambda: [copy.deepcopy(rnn).params, pickle.loads(pickle.dumps(rnn)).params, *rnn.state_dict().values()]
    )


def threads():
    """Where threads cannot be made there are fewer; so a call makes them in a new network."""
    x, dy = np.random.default_rng(0).normal(size=(2, 300, 48, I))
    rnn = network()

    def call():
        many = bptt.RNN(I, 96, O, seed=0, threads=3)
        y, _ = many.forward(x)
        dx, _ = many.backward(dy)
        return y, dx, many.grads

    return Case(rnn, call)


def losses():
    rnn = network()
    y, target = sequences()

    def call():
        parts = [bptt.mse(y, target), bptt.huber(y, target), bptt.binary_cross_entropy(y, target > 0)]
        return [*parts, bptt.cross_entropy(y.reshape(-1, O), np.arange(T * B) % O)]

    return Case(rnn, call)


def optimizers():
    rnn = network()
    kinds = [bptt.SGD, bptt.RMSprop, bptt.Adagrad, bptt.Adam]
    first = rnn.params.copy()

    def call():
        rnn.grads = np.sin(np.arange(rnn.grads.size))
        for kind in kinds:
            rnn.params = first
            kind(rnn.params, rnn.grads).step()
        return rnn.params.copy()

    return Case(rnn, call, lambda rnn: [], lambda: setattr(rnn, "params", first))


def in_folder(call):
    """A case of a file, which is there before and stays whole, alone in its folder."""
    rnn, folder = network(), tempfile.mkdtemp()
    path = os.path.join(folder, "file")
    call(rnn, path)
    old = Path(path).read_bytes()

    def state(rnn):
        assert os.listdir(folder) == ["file"]
        return [*state_of(rnn), Path(path).read_bytes() == old]

    return Case(rnn, lambda: call(rnn, path), state)


def save(rnn, path):
    rnn.save(path)
    return bptt.RNN.load(path).params


def training(rnn, path):
    optimizer = bptt.Adam(rnn.params, rnn.grads)
    bptt.save_training(path, rnn, optimizer, epoch=3)
    other = network()
    bptt.load_training(path, other, bptt.Adam(other.params, other.grads))
    return other.params


def audio(rnn, path):
    bptt.convert.to_rtneural(bptt.RNN(1, 24, 1, cell="gru", seed=0), path)
    return bptt.convert.from_rtneural(path).params


CASES = {
    "make": make,
    "forward": forward,
    "forward without a tape": lambda: forward(tape=False),
    "forward with checkpoints": lambda: forward(checkpoint="auto"),
    "ragged": ragged,
    "backward": backward,
    "backward of GRU, two directions": lambda: backward(cell="gru", bidirectional=True),
    "windows": lambda: windows(lambda: None),
    "windows that overlap": lambda: windows(lambda: bptt.TBPTT(5, 9)),
    "windows with checkpoints": lambda: windows(lambda: bptt.TBPTT(7), checkpoint=3),
    "random windows": lambda: windows(lambda: bptt.ARTBP(6, seed=0)),
    "fit": fit,
    "make a stream": make_stream,
    "stream": stream,
    "stream, out=": lambda: stream(out=True),
    "refresh": refresh,
    "RTRL": lambda: learner(bptt.RTRL),
    "SnAp-1": lambda: learner(bptt.SnAp1),
    "copies": copies,
    "threads": threads,
    "losses": losses,
    "optimizers": optimizers,
    "save and load": lambda: in_folder(save),
    "save_training and load_training": lambda: in_folder(training),
    "RTNeural": lambda: in_folder(audio),
}

FILES = {name for name in CASES if "load" in name}  # safetensors panics when Python's own allocations fail


# ---- failing ---------------------------------------------------------------------------------------------


class Memory:
    """Fails what NumPy and the core ask the C library for."""

    exceptions, results_get_lost = (MemoryError, SystemError), False  # some of NumPy's failures have no exception

    def __init__(self):
        self.library = ctypes.CDLL(None)
        self.library.faults_arm.argtypes = [ctypes.c_long]
        self.library.faults_disarm.restype = ctypes.c_long

    @contextlib.contextmanager
    def failing(self, n):
        self.library.faults_arm(n)
        try:
            yield
        finally:
            self.counted = self.library.faults_disarm()

    def count(self, case):
        with self.failing(0):
            case.call()
        case.restore()
        return self.counted


class Objects:
    """Fails what Python asks itself for."""

    exceptions, results_get_lost = Exception, True

    def __init__(self):
        import _testcapi

        self.hooks = _testcapi

    @contextlib.contextmanager
    def failing(self, n):
        self.hooks.set_nomemory(n, n + 1)
        try:
            yield
        finally:
            self.hooks.remove_mem_hooks()

    def count(self, case):
        """At most twice as many as there are: the failure of a number above shows nowhere."""
        for power in range(20):
            try:
                with self.failing(1 << power):
                    case.call()
                return 1 << power
            except self.exceptions:
                pass
            finally:
                case.restore()


def flat(value):
    """All arrays and numbers of nested results."""
    if isinstance(value, (list, tuple)):
        return [part for item in value for part in flat(item)]
    return [value]


def same(ours, expected):
    ours, expected = flat(ours), flat(expected)
    return len(ours) == len(expected) and all(map(np.array_equal, ours, expected))


def try_failure(case, faults, n, expected, states, name):
    """The call while the n-th allocation fails, and then undisturbed. `states`: those that a failure may leave."""
    what, error, result = f"{name}, allocation {n}", None, None
    try:
        with faults.failing(n):
            result = case.call()
    except faults.exceptions as raised:
        error = repr(raised)
    if error is None:
        assert same(result, expected), what
    else:
        found = case.state()
        assert any(same(found, state) for state in states), f"{what}: {error} left something changed"
    result = None
    case.restore()
    assert same(case.call(), expected), f"{what}: {error}, and the call after it"
    case.restore()


def run(name, faults, stride):
    """Tries all allocations of a case; returns how many they are."""
    case = CASES[name]()
    case.restore()
    states = [case.state()]
    expected = case.call()
    states += faults.results_get_lost * [case.state()] + case.versions()
    case.restore()
    count = faults.count(case)
    for n in range(1, count + 1, stride):
        try_failure(case, faults, n, expected, states, name)
    return count


def main(kind="memory", stride="1", *names):
    faults, unraisable = {"memory": Memory, "objects": Objects}[kind](), []
    sys.unraisablehook = unraisable.append
    for name in names or [name for name in CASES if kind == "memory" or name not in FILES]:
        print(f"{name}: {run(name, faults, int(stride))} allocations", flush=True)
        assert kind == "objects" or not unraisable, unraisable
    print("after each failure all went on")


def preloaded():
    """The environment of a process in which fail_malloc.c is there."""
    library = Path(tempfile.mkdtemp()) / "fail_malloc.so"
    subprocess.run(["cc", "-O1", "-fPIC", "-shared", str(SOURCE), "-o", str(library), "-ldl", "-pthread"], check=True)
    return os.environ | {"LD_PRELOAD": str(library)}


if __name__ == "__main__":
    if sys.argv[1:2] != ["objects"] and "fail_malloc" not in os.environ.get("LD_PRELOAD", ""):
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=preloaded()).returncode)
    main(*sys.argv[1:])
