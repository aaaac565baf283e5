"""Memory that runs out, disks that are full or read-only, kills, signals and forks: afterwards all goes on.

The long forms are scripts: fail_malloc.py, full_disk.py, kill_save.py and kill_training.py.
"""

import errno
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import full_disk
import kill_save
import numpy as np
import pytest
from cases import assert_same
from test_threads import end_child, fork, forks, join

import bptt

HERE = Path(__file__).parent
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone has it")
plain = pytest.mark.skipif("BPTT_SANITIZE" in os.environ, reason="the sanitizer has a malloc of its own")
posix = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="POSIX signals")


def run(*command):
    """Its last line."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    return result.stdout.splitlines()[-1]


# ---- memory ------------------------------------------------------------------------------------------------


@linux
@plain
@pytest.mark.skipif(not shutil.which("cc") or platform.libc_ver()[0] != "glibc", reason="needs cc and glibc")
@pytest.mark.parametrize("stride", ["7", pytest.param("1", marks=pytest.mark.slow)])
def test_every_malloc_may_fail(stride):
    assert run(sys.executable, HERE / "fail_malloc.py", "memory", stride) == "after each failure all went on"


@plain
@pytest.mark.parametrize(
    "stride, names",
    [("23", ["ragged", "backward", "windows", "stream", "SnAp-1"]), pytest.param("1", [], marks=pytest.mark.slow)],
)
def test_every_allocation_of_python_may_fail(stride, names):
    pytest.importorskip("_testcapi")
    assert run(sys.executable, HERE / "fail_malloc.py", "objects", stride, *names) == "after each failure all went on"


# ---- disks -------------------------------------------------------------------------------------------------


@linux
def test_a_disk_that_is_full_or_read_only():
    unshare, tmpfs = ["unshare", "-rm"], ["mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if not shutil.which("unshare") or subprocess.run([*unshare, *tmpfs], capture_output=True).returncode:
        pytest.skip("needs a mount namespace of its own")
    assert "nothing lost" in run(*unshare, sys.executable, HERE / "full_disk.py")


@contextmanager
def files_end_after(size):
    """A write beyond so many bytes of a file fails, as it does where the disk ends."""
    import resource

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
@pytest.mark.parametrize("name", full_disk.WRITERS)
def test_a_disk_that_ends_within_the_file(tmp_path, name):
    if name == "model.onnx":
        pytest.importorskip("onnx")
    rnn, old = full_disk.network(), full_disk.network(1)
    for _ in range(2):  # nothing to replace, then a whole file
        with files_end_after(3000):
            full_disk.expect_error(name, tmp_path, errno.EFBIG, rnn)
        full_disk.WRITERS[name](old, os.path.join(tmp_path, name))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("name", ["model", "training", "model.json"])
def test_a_device_that_is_full(name):
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        full_disk.WRITERS[name](full_disk.network(), "/dev/full")


# ---- kills -------------------------------------------------------------------------------------------------


@forks
@plain
@pytest.mark.parametrize("writer", kill_save.WRITERS)
def test_killed_while_it_writes(writer):
    found = kill_save.kill_writes(writer, 2, np.random.default_rng(5))
    assert found[0] + found[1] == 2


# ---- signals -----------------------------------------------------------------------------------------------


class Arrived(Exception):
    """By the handler of a signal."""


class Interrupter:
    """Calls functions and has a signal arrive meanwhile, at a random instant. `longest` follows how long a call takes:
    about every second signal arrives before its end."""

    def __init__(self):
        self.rng, self.longest, self.armed = np.random.default_rng(3), 1e-3, False

    def handle(self, *_):
        if self.armed:
            self.armed = False
            raise Arrived

    def call(self, function):
        """Whether the signal came before the end."""
        try:
            self.armed = True
            signal.setitimer(signal.ITIMER_REAL, self.rng.uniform(1e-5, self.longest))
            function()
            self.armed = False
            self.longest /= 1.5
            return False
        except Arrived:
            self.longest *= 1.5
            return True
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def interrupter():
    made = Interrupter()
    old = signal.signal(signal.SIGALRM, made.handle)
    try:
        yield made
    finally:
        signal.signal(signal.SIGALRM, old)


def in_another_thread(function):
    """What it returns there: a lock that this thread still has would hold it up."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()
    thread.join(120)
    assert results, "another thread waits for a lock"
    return results[0]


def interrupt(function, check, times=15):
    """Calls a function until a signal interrupted it that often, at random instants; check() comes after each."""
    count = 0
    with interrupter() as signals:
        for _ in range(20 * times):
            if signals.call(function):
                count += 1
                check()
            if count == times:
                return
    raise AssertionError(f"{count} signals of {20 * times} arrived in time")


def trained(dropout=0.0):
    rnn = bptt.RNN(3, 16, 2, cell="gru", num_layers=2, seed=0, threads=2, dropout=dropout)
    x, target = np.random.default_rng(0).normal(size=(2, 60, 4, 3)).astype(np.float32)
    return rnn, x, np.ascontiguousarray(target[:, :, :2])


@posix
@pytest.mark.parametrize("options", [{}, {"checkpoint": 4}], ids=str)
def test_signals_during_windows(options):
    rnn, x, target = trained(dropout=0.2)
    truncation = bptt.TBPTT(8) if options else bptt.TBPTT(8, 12)
    params, drawn = rnn.params.copy(), rnn.dropout_state

    def go_over():
        rnn.dropout_state = drawn
        return [(w.loss, rnn.grads.copy()) for w in rnn.windows(x, target, truncation=truncation, **options)]

    expected = go_over()

    def check():
        np.testing.assert_array_equal(rnn.params, params)
        for ours, window in zip(in_another_thread(go_over), expected, strict=True):
            assert ours[0] == window[0]
            np.testing.assert_array_equal(ours[1], window[1])

    interrupt(go_over, check)


@posix
def test_signals_during_fit():
    """The parameters are those after some whole update, and the next training is as ever."""
    rnn, x, target = trained()
    first, versions = rnn.params.copy(), []

    def fit(on_update=None):
        rnn.params = first
        bptt.fit(rnn, x, target, epochs=2, batch_size=2, seed=0, progress=False, on_update=on_update)
        return rnn.params.copy()

    versions = [first]
    fit(lambda *_: versions.append(rnn.params.copy()))

    def check():
        assert any(np.array_equal(rnn.params, version) for version in versions)
        np.testing.assert_array_equal(in_another_thread(fit), versions[-1])

    interrupt(fit, check)


@posix
def test_signals_during_steps_of_a_stream():
    """The state is that after some whole step."""
    rnn = bptt.RNN(3, 16, 2, cell="lstm", num_layers=2, seed=0)
    stream, x = rnn.stream(4), np.random.default_rng(0).normal(size=(60, 4, 3))
    states = []

    def go_over(after=lambda: None):
        stream.reset()
        for step in x:
            stream(step)
            after()

    go_over(lambda: states.append(np.array(stream.state)))
    states.append(np.zeros_like(states[0]))

    def check():
        state = np.array(in_another_thread(lambda: stream.state))
        assert any(np.array_equal(state, other) for other in states)

    interrupt(go_over, check)
    go_over()
    np.testing.assert_array_equal(np.array(stream.state), states[-2])


@posix
@pytest.mark.parametrize("kind", [bptt.RTRL, bptt.SnAp1])
def test_signals_during_learning_at_every_step(kind):
    rnn = bptt.RNN(3, 8, 2, cell="lstm", seed=0)
    learner, x = kind(rnn, 2), np.random.default_rng(0).normal(size=(40, 2, 3)).astype(np.float32)

    def go_over():
        learner.reset()
        rnn.zero_grad()
        for step in x:
            learner.backward(learner(step))
        return rnn.grads.copy()

    expected = go_over()
    interrupt(go_over, lambda: np.testing.assert_array_equal(in_another_thread(go_over), expected))


@posix
@pytest.mark.filterwarnings("ignore:unclosed file")  # a signal after open and before `with`: the destructor closes it
def test_signals_during_save(tmp_path):
    networks = [kill_save.network(0), kill_save.network(1)]
    path, versions = tmp_path / "model", []
    for rnn in networks:
        rnn.save(path)
        versions.append(path.read_bytes())

    def save():
        for rnn in networks:
            rnn.save(path)

    def check():
        assert path.read_bytes() in versions
        assert os.listdir(tmp_path) == [path.name]

    interrupt(save, check)


# ---- forks -------------------------------------------------------------------------------------------------


@forks
def test_fork_between_windows():
    """Parent and child both go on to the same bits."""
    rnn, x, target = trained(dropout=0.2)
    drawn = rnn.dropout_state

    def go_over(fork_at=None):
        rnn.dropout_state, found, pid = drawn, [], None
        for i, _ in enumerate(rnn.windows(x, target, truncation=bptt.TBPTT(8, 12))):
            found.append(rnn.grads.copy())
            if i == fork_at:
                pid = fork()
        return found, pid

    expected, _ = go_over()
    for fork_at in (0, 3):
        found, pid = go_over(fork_at)
        if pid == 0:
            end_child(lambda found=found: assert_same(found, expected))
        assert_same(found, expected)
        join(pid)


@forks
def test_fork_within_fit():
    rnn, x, target = trained()
    first = rnn.params.copy()

    def fit(fork_at=None):
        rnn.params, pids = first, []
        bptt.fit(rnn, x, target, epochs=2, batch_size=2, seed=0, progress=False,
                 on_update=lambda update, _: update == fork_at and pids.append(fork()))  # fmt: skip
        return rnn.params.copy(), pids

    expected, _ = fit()
    found, (pid,) = fit(fork_at=1)
    if pid == 0:
        end_child(lambda: assert_same([found], [expected]))
    assert_same([found], [expected])
    join(pid)


@forks
def test_fork_between_the_steps_of_a_learner():
    rnn = bptt.RNN(3, 8, 2, cell="lstm", seed=0)
    learner, x = bptt.RTRL(rnn, 2), np.random.default_rng(0).normal(size=(10, 2, 3)).astype(np.float32)

    def go_over(fork_at=None):
        learner.reset()
        rnn.zero_grad()
        pid = None
        for i, step in enumerate(x):
            y = learner(step)
            if i == fork_at:
                pid = fork()
            learner.backward(y)
        return rnn.grads.copy(), pid

    expected, _ = go_over()
    found, pid = go_over(5)
    if pid == 0:
        end_child(lambda: assert_same([found], [expected]))
    assert_same([found], [expected])
    join(pid)


# ---- for long ----------------------------------------------------------------------------------------------


@linux
@plain
def test_memory_stays_flat():
    """A short form of `make soak`, whose points are too near one another for small leaks."""
    script = str(HERE / "soak.py")
    names = ["windows", "thousand steps of a stream", "passes of windows", "forward, backward and an error"]
    assert run(sys.executable, script, "4000", *names) == "memory stays flat"
