"""Threads: the same bits for any number, and objects used from several Python threads."""

import os
import signal
import subprocess
import sys
import sysconfig
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from cases import CELLS, DROPOUT, INPUTS, assert_same, case_id, covering

import bptt


def results(threads, T, B, I, H, O, *, extras=(), **options):
    """All that forward and backward give, as a list."""
    rng = np.random.default_rng(0)
    rnn = bptt.RNN(I, H, O, seed=1, threads=threads, **options)
    width = O or H * (1 + rnn.bidirectional)
    x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, width))
    if rnn.spec.vocabulary:
        x = rng.integers(rnn.spec.vocabulary, size=(T, B))
    lengths, reset, carry = rng.integers(1, T + 1, B), rng.random((T, B)) < 0.05, rng.random((T, B))
    norms = np.zeros((rnn.num_layers * (1 + rnn.bidirectional), T), rnn.dtype)
    y, state = rnn.forward(x, lengths=lengths if "lengths" in extras else None,
                           reset=reset if "reset" in extras else None,
                           checkpoint="auto" if "checkpoint" in extras and not rnn.bidirectional else None)  # fmt: skip
    measured = {"step_norms": norms if len(norms) > 1 else norms[0], "step_clip_norm": 0.5} if "clip" in extras else {}
    dx, dstate = rnn.backward(dy, carry=carry if "carry" in extras else None, **measured)
    return [y, np.stack(state), *([] if dx is None else [dx]), np.stack(dstate), rnn.grads, norms]


CHANGED_WHILE_READ = """
import threading, numpy as np, bptt
N, done = 5000, False
x, far = np.zeros(N, int), np.full(N, 2**45)
rnn, logits = bptt.RNN(3, 16, one_hot=True, seed=0), np.zeros((N, 3))
stream = rnn.stream(batch=N)
def change():
    while not done:
        x[:] = far
        x[:] = 0
thread = threading.Thread(target=change)
thread.start()
for i in range(300):
    for call in (stream, lambda x: bptt.cross_entropy(logits, x), lambda x: rnn.forward(x[None])):
        try:
            call(x)
        except ValueError as error:
            assert str(2**45) in str(error) or "got 0" in str(error), error
done = True
thread.join()
"""


def test_integers_that_another_thread_changes():
    """Those that were checked are those that are used: far out of range they would be read from anywhere."""
    subprocess.run([sys.executable, "-c", CHANGED_WHILE_READ], check=True, timeout=300)


EXTRAS = ["lengths", "reset", "carry", "clip", "checkpoint"]
NETWORKS = {
    "cell": CELLS,
    "num_layers": [1, 2, 3],
    "bidirectional": [False, True],
    "dropouts": DROPOUT,
    "O": [None, 7],
    "dtype": ["float32", "float64"],
    "start": [{}, {"learn_state": True}],
    "inputs": INPUTS,
    "extras": [(), *((name,) for name in EXTRAS), EXTRAS],
    "B": [16, 40, 5],
    "I": [1, 37],
    "H": [33, 70],
}


@pytest.mark.parametrize("case", covering(NETWORKS, alone=False), ids=case_id)
def test_same_bits_for_any_number_of_threads(case):
    """T is chosen so that the work is enough for seven threads (a call with less uses fewer), and bounded for networks
    whose steps are short."""
    options = dict(case)
    B, I, H = (options.pop(name) for name in ("B", "I", "H"))
    options |= options.pop("dropouts") | options.pop("start") | options.pop("inputs") | CELLS[case["cell"]]
    directions, layers = 1 + case["bidirectional"], case["num_layers"]
    blocks = {"lstm": 4, "gru": 3}.get(options["cell"], 1)
    flops = 2 * B * blocks * H * directions * (I + layers * H + (layers - 1) * directions * H)
    T = min(1 + int(2.2e7 / flops), 800)
    one = results(1, T, B, I, H, **options)
    for threads in (2, 3, 7):
        assert_same(results(threads, T, B, I, H, **options), one)


def threads_of_process():
    return len(os.listdir("/proc/self/task"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc lists a process's threads")
def test_threads_stay_while_their_network_does(problem):
    p = problem(60, 16, 8, 64, 4)
    before = threads_of_process()
    counts = []
    for p.rnn.threads in (1, 3, 2, 3):
        p.rnn.forward(p.x)
        p.rnn.backward(p.dy)
        counts.append(threads_of_process() - before)
    assert counts == [0, 2, 2, 2]
    del p.rnn
    assert threads_of_process() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_of_fork_makes_threads_of_its_own(problem):
    p = problem(60, 16, 8, 64, 4)
    p.rnn.threads = 3
    y, _ = p.rnn.forward(p.x)
    child = os.fork()
    if child == 0:
        signal.alarm(120)
        os._exit(not np.array_equal(p.rnn.forward(p.x)[0], y))
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(p.rnn.forward(p.x)[0], y)


def at_once(works):
    """Runs each in a thread of its own; what one of them raises is raised here."""
    start = threading.Barrier(len(works))

    def begin(work):
        start.wait()
        work()

    with ThreadPoolExecutor(len(works)) as pool:
        for future in [pool.submit(begin, work) for work in works]:
            future.result()


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python is not free-threaded")
def test_the_module_leaves_the_gil_off():
    """Importing a module that does not declare itself safe would turn it on."""
    code = "import bptt._core, sys; sys.exit(sys._is_gil_enabled())"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_all_kinds_of_calls_on_one_object(problem):
    """Whatever order eight threads come in, each call sees a whole network and the object stays sound."""
    p = problem(20, 3, 4, 16, 2)
    rnn, target = p.rnn, np.zeros((20, 3, 2))
    optimizer, stream = bptt.Adam(rnn.params, rnn.grads, lr=1e-3), rnn.stream(3)

    def train():
        rnn.forward(p.x)
        with suppress(RuntimeError):  # another thread may have run forward without a tape between the two
            rnn.backward(p.dy)

    def settle():
        rnn.threads = 1 + rnn.threads % 3
        rnn.params = np.clip(rnn.params, -1, 1)
        rnn.zero_grad()

    def windows():
        for _ in rnn.windows(p.x, target, truncation=bptt.TBPTT(5)):
            pass

    rnn.threads = 1
    kinds = [train, train, settle, windows, lambda: rnn.clip_grad_norm(1.0), lambda: stream(p.x[0]),
             lambda: rnn.forward(p.x, tape=False)]  # fmt: skip
    if os.environ.get("BPTT_SANITIZE") != "thread":  # an optimiser is another object: it waits for no call
        kinds.append(optimizer.step)
    at_once([lambda kind=kind: [kind() for _ in range(40)] for kind in kinds])
    rnn.zero_grad()
    y, state = rnn.forward(p.x)
    rnn.backward(p.dy)
    for array in (y, state, rnn.grads):
        assert np.isfinite(array).all()


def test_one_object_serialises_its_calls(problem):
    """Threads that all use the same network: the sum of the gradients is that of the calls one by one."""
    p = problem(30, 4, 3, 16, 2)
    truth, _ = p.rnn.forward(p.x)
    p.rnn.backward(p.dy)
    once = p.rnn.grads.copy()
    wrong = []

    def work():
        for _ in range(25):
            y, _ = p.rnn.forward(p.x)
            if not np.array_equal(y, truth):
                wrong.append(y)
            p.rnn.backward(p.dy, input_grad=False)

    at_once([work] * 8)
    assert not wrong
    np.testing.assert_allclose(p.rnn.grads, 201 * once, rtol=1e-11)


def test_separate_objects_run_at_the_same_time(problem):
    problems = [problem(40, 4, 3, 24, 2, seed=i) for i in range(8)]
    alone = [{n: g.copy() for n, g in p.gradients().items()} for p in problems]
    together = [None] * 8

    def work(i):
        for _ in range(20):
            together[i] = {n: g.copy() for n, g in problems[i].gradients().items()}

    at_once([partial(work, i) for i in range(8)])
    for a, b in zip(alone, together, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_the_number_may_change_at_any_time():
    """Scratch memory does not depend on it: nothing may be written beyond its end."""
    x = np.random.default_rng(0).normal(size=(256, 32, 64))
    results = []
    for changes in (False, True):
        rnn = bptt.RNN(64, 384, 64, seed=0, threads=1)
        grads = []
        for i, _ in enumerate(rnn.windows(x, x, truncation=bptt.TBPTT(64))):
            grads.append(rnn.grads.copy())
            rnn.threads = (16, 3, None, 1)[i] if changes else 1
        rnn.forward(x[:64])
        rnn.threads = 33 if changes else 1
        dx, _ = rnn.backward(x[:64])
        results.append([*grads, dx])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("B", [1, 2, 3])
@pytest.mark.parametrize("tape", [True, False])
def test_more_threads_than_rows(B, tape):
    x = np.random.default_rng(0).normal(size=(900, B, 40))
    outputs = [bptt.RNN(40, 96, 5, seed=0, threads=threads).forward(x, tape=tape)[0] for threads in (1, 8)]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_fork_after_threads(threads):
    """A child forked after threaded calls computes the same, and so does the parent: no thread outlives its call."""
    import multiprocessing

    sizes = (threads, 200, 16, 64, 96, 8)
    before = results(*sizes)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert_same(pool.apply(results, sizes), before)
    assert_same(results(*sizes), before)


# ---- fork while calls run ----------------------------------------------------------------------------------------

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")


def fork():
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of forks beside other threads
        return os.fork()


def end_when_stuck():
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(120)


def end_child(check):
    """Ends this child: the parent's join() sees whether check() raised or took long."""
    end_when_stuck()
    code = 1
    try:
        check()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def join(pid):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def child(check):
    """check() in a child that is forked here."""
    pid = fork()
    if pid == 0:
        end_child(check)
    join(pid)


class Beside:
    """A thread that runs `work` again and again until the block ends."""

    def __init__(self, work):
        self.work, self.over, self.begun = work, threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.is_set():
            self.begun.set()
            self.work()

    def __enter__(self):
        self.thread.start()
        self.begun.wait()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def is_held(lock):
    """Whether another thread holds a lock."""
    return not (lock.acquire(False) and [lock.release()])


@forks
def test_fork_while_another_thread_is_in_a_call(problem):
    """The child has only the thread that forked: the other one's call is over there, and the network is free."""
    p = problem(5, 3, 4, 16, 2)
    stream, expected = p.rnn.stream(3), p.gradients()["y"]
    x = np.zeros((100_000, 3, 4))

    def check():
        np.testing.assert_array_equal(p.gradients()["y"], expected)
        np.testing.assert_array_equal([stream(x) for x in p.x[:1]], p.rnn.forward(p.x[:1], tape=False)[0])
        for _ in p.rnn.windows(p.x, p.dy):
            p.rnn.clip_grad_norm(1.0)
        stream.refresh()
        at_once([lambda: p.rnn.forward(p.x)] * 2)

    with Beside(lambda: p.rnn.forward(x, tape=False)):
        for _ in range(5):
            while not is_held(p.rnn.lock):
                pass
            child(check)
    check()


@forks
def test_fork_while_another_thread_is_in_a_step():
    """Its state is whole or half of the step's; after reset() or an assignment the child's stream is sound."""
    rnn = bptt.RNN(4, 1500, seed=0)
    stream, x = rnn.stream(), np.ones(4)
    expected = stream(x)

    def check():
        stream.reset()
        np.testing.assert_array_equal(stream(x), expected)

    with Beside(lambda: stream(x)):
        for _ in range(5):
            child(check)


@forks
def test_fork_while_this_thread_has_the_lock(problem):
    """The child's thread has it too, and releases it."""
    p = problem(5, 3, 4, 16, 2)
    with p.rnn.lock:
        pid = fork()
        p.rnn.forward(p.x)
        if pid:
            join(pid)
    if pid == 0:
        end_child(lambda: at_once([lambda: p.rnn.forward(p.x)] * 2))
    assert not is_held(p.rnn.lock)


@forks
@pytest.mark.parametrize("direction, threads", [("forward", 1), ("forward", 2), ("backward", 2)])
def test_fork_within_a_call(direction, threads):
    """By a signal handler. In the child this thread is in the call still; the other threads of the call are not there,
    so that it can only be given up."""
    rnn = bptt.RNN(16, 192, 1, seed=0, threads=threads)
    steps = 8000 if direction == "forward" else 3000
    x = np.random.default_rng(0).normal(size=(steps, 16, 16)).astype(np.float32)
    pids, error = [], None

    def work():
        if direction == "forward":
            return rnn.forward(x, tape=False)[0]
        return rnn.backward(x[:, :, :1], state_grad=False)[0]

    def handler(*_):
        try:
            rnn.zero_grad()
        except RuntimeError:  # it is in the call
            pids.append(fork())
            if pids[0] == 0:
                end_when_stuck()
            with pytest.raises(RuntimeError, match="in the middle of a call"):
                rnn.forward(x[:2])

    old = signal.signal(signal.SIGALRM, handler)
    while not pids:  # until the call is long enough for a handler, which runs ten times a second
        x = np.concatenate([x, x])
        rnn.forward(x, tape=direction == "backward")
        expected = work()
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        try:
            result = work()
        except RuntimeError as raised:
            error = raised
        signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)
    if pids[0] == 0:

        def check():
            assert (error is None) == (threads == 1)
            assert error is not None or np.array_equal(result, expected)
            assert error is None or "forked" in str(error)
            rnn.forward(x[:2])

        end_child(check)
    np.testing.assert_array_equal(result, expected)
    join(pids[0])
