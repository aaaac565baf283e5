"""bptt.Shards: the same bits for any number of ranks, which are threads with a communicator of their own here, and
processes where mpiexec is there."""

import ctypes
import importlib.util
import json
import math
import mmap
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import shards_job
from shards_job import FITS, KINDS, TARGET, B, T, X

import bptt
from bptt import _ranks, _resume, _shard_sums, _shards

FOLDER = Path(__file__).parent
PROT_NONE = 0  # of sys/mman.h
PATH = os.pathsep.join([str(Path(bptt.__file__).parents[1]), str(FOLDER)])
SECONDS = 60  # after which a message that nobody answers is an error


class Job:
    """Ranks that are threads of this process."""

    def __init__(self, size):
        self.size, self.slots = size, [None] * size
        self.barrier = threading.Barrier(size, timeout=SECONDS)
        self.queues = {(a, b): queue.Queue() for a in range(size) for b in range(size)}
        self.messages = [0] * size

    def run(self, function):
        """What the function returns, or the error that it raises, for each rank."""
        results = [None] * self.size

        def rank_of(rank):
            try:
                results[rank] = function(Comm(self, rank))
            except BaseException as error:
                results[rank] = error

        threads = [threading.Thread(target=rank_of, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * SECONDS)
            assert not thread.is_alive()
        return results


class Comm:
    """The methods of mpi4py's communicator that bptt uses."""

    def __init__(self, job, rank):
        self.job, self.rank = job, rank

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return self.job.size

    def allgather(self, value):
        self.job.messages[self.rank] += 1
        self.job.slots[self.rank] = value
        self.job.barrier.wait()
        values = list(self.job.slots)
        self.job.barrier.wait()
        return values

    def bcast(self, value, root):
        return self.allgather(value)[root]

    def Allgather(self, sent, received):
        values = self.allgather(sent.copy())
        assert all(value.nbytes * self.job.size == received.nbytes for value in values)
        received[...] = np.stack(values)

    def Bcast(self, array, root):
        array[...] = self.allgather(array.copy())[root]

    def Send(self, array, dest):
        self.job.queues[self.rank, dest].put(array.copy())

    def Recv(self, array, source):
        array[...] = self.job.queues[source, self.rank].get(timeout=SECONDS)

    def Alltoallv(self, sent, received):
        array, (counts, starts) = sent
        parts = [array.reshape(-1)[start : start + n].copy() for n, start in zip(counts, starts, strict=True)]
        array, (counts, starts) = received
        for theirs, n, start in zip(self.allgather(parts), counts, starts, strict=True):
            assert theirs[self.rank].size == n
            array.reshape(-1)[start : start + n] = theirs[self.rank]

    def Allgatherv(self, sent, received):
        array, (counts, starts) = received
        for part, n, start in zip(self.allgather(sent.reshape(-1).copy()), counts, starts, strict=True):
            assert part.size == n
            array[start : start + n] = part


def started(comm):
    """A network, and a group that has begun to train it."""
    rnn, group = bptt.RNN(3, 8, 3, seed=0), bptt.Shards(comm)
    group.start(rnn)
    return rnn, group


# ---- one result for any number of ranks --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_is_the_same_to_the_bit_for_any_number_of_ranks(kind):
    expected = shards_job.train(kind, None)
    for size in (1, 2, 3, 4, 9):
        assert Job(size).run(lambda comm: shards_job.train(kind, comm)) == [expected] * size, size


@pytest.mark.parametrize("bytes_", [0, 1 << 40])
def test_either_way_to_add_up_gives_the_same_bits(monkeypatch, bytes_):
    expected = shards_job.train("tanh", None)
    monkeypatch.setattr(_shard_sums, "SLICED_BYTES", bytes_)
    for size in (2, 3, 5, 7, 8):
        assert set(Job(size).run(lambda comm: shards_job.train("tanh", comm))) == {expected}, size


OPTIONS = {
    "full": {},
    "overlap": {"truncation": bptt.TBPTT(7, 12)},
    "burn-in": {"truncation": bptt.TBPTT(4), "burn_in": 7},
    "sum": {"reduction": "sum"},
    "lengths": {"lengths": shards_job.LENGTHS},
    "mask": {"mask": shards_job.MASK},
    "resets": {"reset": shards_job.RESET, "state": np.full((1, B, 8), 0.3)},
    "step clips": {"step_clip_norm": 0.01, "truncation": bptt.TBPTT(8)},
    "labels": {"loss": "cross_entropy", "target": shards_job.LABELS},
    "class weights": {"loss": shards_job.WEIGHTED, "target": shards_job.SORTED_LABELS},
    "checkpoints": {"memory_budget": 100_000},
}


@pytest.mark.parametrize("shards", [1, 3, 8, 20])
@pytest.mark.parametrize("name", OPTIONS)
def test_windows_are_those_of_the_whole_batch(name, shards):
    options = {"target": TARGET} | OPTIONS[name]
    rnn, other = (bptt.RNN(3, 8, 3, seed=0, dtype="float64") for _ in range(2))
    group = bptt.Shards(None, shards)
    group.start(rnn)
    count = 0
    for w, v in zip(group.windows(rnn, X, **options), other.windows(X, **options), strict=True):
        count += 1
        assert (w.start, w.stop) == (v.start, v.stop)
        np.testing.assert_allclose(w.loss, v.loss, rtol=1e-12)
        np.testing.assert_allclose(w.y, v.y, atol=1e-12)
        np.testing.assert_allclose(w.state, v.state, atol=1e-12)
        np.testing.assert_allclose(rnn.grads, other.grads, atol=1e-12 * np.abs(other.grads).max())
        if name != "step clips":  # which clip a norm over the rows that are together
            np.testing.assert_allclose(w.grad_norms, v.grad_norms, atol=1e-12 * v.grad_norms.max())
    assert count == {"overlap": 4, "burn-in": 5, "step clips": 3}.get(name, 1)


def test_one_shard_without_ranks_is_plain_windows():
    rnn, other = (bptt.RNN(3, 8, 3, cell="lstm", num_layers=2, dropout=0.5, seed=0) for _ in range(2))
    group = bptt.Shards(None, 1)
    group.start(rnn)
    for _ in range(2):
        for w, v in zip(group.windows(rnn, X, TARGET), other.windows(X, TARGET), strict=True):
            assert (w.loss, w.y.tobytes()) == (v.loss, v.y.tobytes())
            assert rnn.grads.tobytes() == other.grads.tobytes()
    assert rnn.dropout_state == other.dropout_state


def test_shards_and_passes_have_masks_of_their_own():
    rnn = bptt.RNN(3, 8, num_layers=2, dropout=0.5, seed=0)
    group = bptt.Shards(None, 4)
    group.start(rnn)
    same = np.repeat(X[:, :1], 8, axis=1)
    outputs = [w.y.copy() for _ in range(2) for w in group.windows(rnn, same, np.zeros((T, 8, 8)))]
    rows = np.concatenate(outputs, axis=1)
    assert len({rows[:, i].tobytes() for i in range(16)}) == 16


def test_dropout_masks_do_not_depend_on_when_a_tape_is_made():
    def y_of(truncation):
        rnn = bptt.RNN(3, 8, num_layers=2, dropout=0.5, seed=0)
        group = bptt.Shards(None, 4)
        group.start(rnn)
        return np.concatenate([w.y for w in group.windows(rnn, X, np.zeros((T, B, 8)), truncation=truncation)])

    assert y_of(None).tobytes() == y_of(bptt.TBPTT(5)).tobytes()


@pytest.mark.parametrize("count,size", [(1, 1), (8, 1), (8, 3), (5, 4), (13, 7), (3, 8), (64, 16)])
def test_the_tree_is_one_whoever_computes_it(count, size):
    ranks = [_shard_sums.Tree(count, size, rank) for rank in range(size)]
    assert [shard for rank in ranks for shard in rank.own] == list(range(count))
    texts = {}
    for rank in ranks:  # the sum as a text in brackets
        waiting = []
        for shard in rank.own:
            begin, end, text = shard, shard + 1, str(shard)
            while waiting and (waiting[-1][0], begin, end) in rank.own_joins:
                begin, _, left = waiting.pop()
                text = f"({left}+{text})"
            waiting.append((begin, end, text))
        assert [(begin, end) for begin, end, _ in waiting] == rank.nodes[rank.rank]
        assert len(waiting) <= 2 * max(1, len(rank.own)).bit_length()
        texts |= {begin: text for begin, _, text in waiting}
    for begin, split in ranks[0].joined:
        texts[begin] = f"({texts[begin]}+{texts[split]})"

    def expected(begin, end):
        split = _shard_sums.middle(begin, end) if end - begin > 1 else None
        return str(begin) if split is None else f"({expected(begin, split)}+{expected(split, end)})"

    assert texts[0] == expected(0, count)


def test_a_rank_keeps_few_gradients():
    rnn = bptt.RNN(3, 8, 3, seed=0)
    sums = _shard_sums.Sums(_ranks.Ranks(None), _shard_sums.tree_of(64, 1, 0), rnn.grads)
    for shard in range(64):
        rnn.grads[:] = shard
        sums.add(shard, rnn.grads)
        assert len(sums.arrays) <= 7
    sums.finish(rnn.grads)
    assert (rnn.grads == 64 * 63 / 2).all()


def test_a_rank_reads_its_rows_alone():
    if os.name == "nt" or os.environ.get("BPTT_SANITIZE"):
        pytest.skip("needs mprotect")
    run = [sys.executable, "-c", "import test_shards; test_shards.read_guarded_rows()"]
    result = subprocess.run(run, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": PATH})
    assert (result.returncode, result.stdout) == (0, "read\n"), result.stderr


def guarded(folder, name, rows, axes=(4,), dtype=np.float32):
    """A memmap (B,T,*axes), a row a page, of which these rows can be read; another one is a segmentation fault."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps = mmap.PAGESIZE // (np.dtype(dtype).itemsize * math.prod(axes))
    array = np.memmap(folder / name, dtype, "w+", shape=(8, steps, *axes))
    array[:] = np.abs(np.random.default_rng(0).normal(size=array.shape))
    for row in set(range(8)) - set(rows):
        address, size = array[row].ctypes.data, array[row].nbytes
        assert libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), PROT_NONE) == 0
    return array


def read_guarded_rows():
    """Windows over memmaps, windows over chunks of them, and fit, on two ranks; the data's samples are not compared."""
    _shards.checksum = lambda array: f"{array.dtype}{array.shape}"

    def run(comm, folder):
        rows = range(8)[bptt.Shards(comm).rows(8)]
        x, target = (guarded(folder, f"{name}{comm.Get_rank()}", rows) for name in ("x", "target"))
        rnn = bptt.RNN(4, 4, 4, batch_first=True, seed=0, threads=1)
        group = bptt.Shards(comm)
        group.start(rnn)
        options = {"truncation": bptt.TBPTT(40, 60), "burn_in": 9}
        chunks = ((array[:, start : start + 50] for start in range(0, array.shape[1], 50)) for array in (x, target))
        for given in ((x, target), chunks):
            for w in group.windows(rnn, *given, **options):
                assert w.y.shape[0] == 4
        bptt.fit(rnn, x, target, validation=(x, target), epochs=2, shuffle=False, progress=False, comm=comm)
        letters = bptt.RNN(9, 4, 2, one_hot=True, batch_first=True, seed=0, threads=1)
        x = guarded(folder, f"letters{comm.Get_rank()}", rows, (), np.int64)
        target = guarded(folder, f"next{comm.Get_rank()}", rows, (2,))
        bptt.fit(letters, x, target, validation=(x, target), shuffle=False, progress=False, comm=comm)
        return rnn.params.tobytes() + letters.params.tobytes()

    with tempfile.TemporaryDirectory() as folder:
        results = Job(2).run(lambda comm: run(comm, Path(folder)))
        assert isinstance(results[0], bytes), results
        assert results[0] == results[1], results
    print("read")


@pytest.mark.parametrize("bad", [0, 5])
def test_an_integer_out_of_range_in_the_rows_of_one_rank(bad):
    x = np.zeros((6, 7), int)
    x[3, bad] = 9

    def run(comm):
        rnn = bptt.RNN(9, 4, 2, one_hot=True, seed=0)
        bptt.fit(rnn, x, np.zeros((6, 7, 2)), batch_size=2, progress=False, comm=comm)

    errors = Job(2).run(run)
    finder = int(bad > 3)
    assert str(errors[finder]) == f"x must hold integers in 0..8, got 9 at [3, {bad}]"
    assert isinstance(errors[finder], ValueError)
    assert str(errors[1 - finder]) == f"rank {finder} raised ValueError: {errors[finder]}"


# ---- start ------------------------------------------------------------------------------------------------


def test_start_gives_all_ranks_the_state_of_rank_0():
    def begin(comm):
        rank = comm.Get_rank()
        rnn = bptt.RNN(3, 8, 3, num_layers=2, dropout=0.1, seed=rank)
        adam = bptt.Adam(rnn.params, rnn.grads, lr=0.1 + rank)
        rnn.grads[:] = rank + 1
        adam.step()
        rnn.threads = rank or None
        bptt.Shards(comm).start(rnn, adam, data=(X, None))
        state = {name: value.tolist() for name, value in adam.state_dict().items()}
        return rnn.params.tolist(), rnn.dropout_state, state, rnn.threads

    first, *others = Job(3).run(begin)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert first[3] == max(1, cores // 3)
    assert [other[:3] for other in others] == [first[:3]] * 2
    assert [other[3] for other in others] == [1, 2]


DIFFERENT = {
    "spec": (lambda rank: {"hidden_size": 8 + rank}, "hidden_size=9"),
    "dtype": (lambda rank: {"dtype": ["float32", "float64"][rank]}, "dtype=float64"),
    "optimizer": (lambda rank: {"betas": (0.5 + 0.1 * rank, 0.9)}, "optimizer="),
    "shape": (lambda rank: {"data": X[: T - rank]}, "data[0]=float32[23, 13, 3]"),
    "values": (lambda rank: {"data": (None, X + rank)}, "data[1]=float32"),
    "long": (lambda rank: {"data": np.full(1 << 23, rank)}, "of samples"),
    "isa": (lambda rank: {"isa": f"set {rank}"}, "kernel set=set 1"),
    "shards": (lambda rank: {"shards": 4 + rank}, "shards must be the same on all ranks, got 4, 5"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_is_an_error_on_all_ranks(name, monkeypatch):
    options, words = DIFFERENT[name]
    this = threading.local()
    monkeypatch.setattr(_shards._core, "isa", lambda: getattr(this, "isa", "one set"))

    def begin(comm):
        given = options(comm.Get_rank())
        this.isa = given.pop("isa", "one set")
        data, betas, shards = given.pop("data", ()), given.pop("betas", (0.9, 0.999)), given.pop("shards", 8)
        rnn = bptt.RNN(3, **{"hidden_size": 8, "output_size": 3, "seed": comm.Get_rank()} | given)
        before = rnn.params.copy()
        try:
            bptt.Shards(comm, shards).start(rnn, bptt.Adam(rnn.params, rnn.grads, betas=betas), data)
        finally:
            assert (rnn.params == before).all()

    errors = Job(2).run(begin)
    assert [type(error) for error in errors] == [ValueError] * 2
    assert all(words in str(error) for error in errors), errors


# ---- errors -----------------------------------------------------------------------------------------------


def stopping(comm, **changes):
    """Windows over X whose pieces may be changed; for rank 1 of 3 alone."""
    rnn, group = started(comm)
    given = {"x": X, "target": TARGET, "truncation": bptt.TBPTT(8), "body": lambda w: None}
    given |= changes if comm.Get_rank() == 1 else {}
    body = given.pop("body")
    for w in group.windows(rnn, **given):
        body(w)
    return comm.job.messages[comm.Get_rank()]


def broken(text="of this rank"):
    raise ZeroDivisionError(text)


def interrupted():
    raise KeyboardInterrupt


def failing_chunks(stop):
    yield from (X[start : start + 4] for start in range(0, stop, 4))
    broken()


def at(start, function):
    return lambda y, target, **named: function() if named["start"] == start else bptt.mse(y, target)


def loss_at_8(y, target, start):
    return broken() if start == 8 else bptt.mse(y, target)


def interrupted_loss(y, target, start):
    return interrupted() if start == 16 else bptt.mse(y, target)


def bad_loss(y, target):
    return 0.0


BROKEN = {
    "other loss": ({"loss": bad_loss}, ValueError, ValueError, "the same on all ranks: rank 1 has loss=.*bad_loss"),
    "body": ({"body": lambda w: broken()}, ZeroDivisionError, RuntimeError, "rank 1 left the loop"),
    "body of the last window": (
        {"body": lambda w: broken() if w.stop == T else None}, ZeroDivisionError, RuntimeError, "rank 1 left",
    ),
    "arguments": ({"burn_in": T}, ValueError, RuntimeError, "rank 1 raised ValueError: burn_in"),
    "other arguments": ({"burn_in": 2}, ValueError, ValueError, "rank 1 has burn_in=2"),
    "other truncation": ({"truncation": bptt.TBPTT(6)}, ValueError, ValueError, r"rank 1 has truncation=.*TBPTT\(k1=6"),
    "fewer steps": ({"x": X[:16], "target": TARGET[:16]}, ValueError, ValueError, r"rank 1 has x=\(16, 13\)"),
    "Ctrl-C": ({"body": lambda w: interrupted()}, KeyboardInterrupt, RuntimeError, "rank 1 left"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_one_rank_raises_makes_all_raise(name):
    changes, own, others, words = BROKEN[name]
    job, began = Job(3), time.monotonic()
    errors = job.run(lambda comm: stopping(comm, **changes))
    assert time.monotonic() - began < SECONDS
    assert [type(error) for error in errors] == [others, own, others], errors
    for error in errors[::2]:
        assert re.search(words, str(error)), error


@pytest.mark.parametrize("kind,error", [(loss_at_8, ZeroDivisionError), (interrupted_loss, KeyboardInterrupt)])
def test_an_error_in_the_loss_of_one_rank(kind, error):
    def run(comm):
        def loss(y, target, start):
            return kind(y, target, start) if comm.Get_rank() == 1 else bptt.mse(y, target)

        rnn, group = started(comm)
        for _ in range(2):  # after the error all begin anew
            try:
                for _ in group.windows(rnn, X, TARGET, loss, truncation=bptt.TBPTT(8)):
                    pass
            except BaseException as raised:
                kinds.append(type(raised))
        return [w.loss for w in group.windows(rnn, X, TARGET)]

    kinds = []
    results = Job(3).run(run)
    assert len(set(map(tuple, results))) == 1
    other = KeyboardInterrupt if error is KeyboardInterrupt else RuntimeError
    assert sorted(kinds, key=str) == sorted([error, other, other] * 2, key=str)


def test_a_chunk_that_one_rank_cannot_read():
    def run(comm):
        rnn, group = started(comm)
        chunks = failing_chunks(12) if comm.Get_rank() == 1 else iter([X])
        return [w.loss for w in group.windows(rnn, chunks, TARGET, truncation=bptt.TBPTT(8))]

    first, second = Job(2).run(run)
    assert (type(first), str(first)) == (RuntimeError, "rank 1 raised ZeroDivisionError: of this rank")
    assert type(second) is ZeroDivisionError


def test_ranks_that_end_at_different_steps_all_raise():
    def run(comm):
        rnn, group = started(comm)
        steps = 16 if comm.Get_rank() else T
        pieces = ((a[:8], a[8:steps]) for a in (X, TARGET))
        x, target = (iter(list(piece)) for piece in pieces)
        return [w.stop for w in group.windows(rnn, x, target, truncation=bptt.TBPTT(8))]

    errors = Job(2).run(run)
    assert [type(error) for error in errors] == [RuntimeError] * 2
    assert "rank 0 is before a window, rank 1 is at the end" in str(errors[0])


def test_an_unknown_keyword_is_heard():
    def run(comm):
        rnn, group = started(comm)
        group.windows(rnn, X, TARGET, **({"truncate": 3} if comm.Get_rank() else {})).__next__()

    first, second = Job(2).run(run)
    assert isinstance(second, TypeError)
    assert isinstance(first, RuntimeError)
    assert "rank 1 raised TypeError: windows() got an unexpected" in str(first)


def test_parameters_that_drift_apart_are_an_error_on_all_ranks():
    def run(comm):
        rnn, group = started(comm)
        for _ in group.windows(rnn, X, TARGET, truncation=bptt.TBPTT(8)):
            rnn.params -= 0.1 * (1 + comm.Get_rank()) * rnn.grads

    errors = Job(3).run(run)
    assert [type(error) for error in errors] == [ValueError] * 3
    assert all("rank 1 has the checksum of rnn.params=" in str(error) for error in errors)


def test_a_label_out_of_range_is_named_where_classes_have_weights():
    def run(comm):
        rnn, group = started(comm)
        labels = shards_job.SORTED_LABELS.copy()
        labels[3, B - 1] = 7
        return list(group.windows(rnn, X, labels, shards_job.WEIGHTED))

    words = "labels must be in 0..2 or -100 (ignored), got 7"
    first, second = Job(2).run(run)
    assert str(second) == words
    assert str(first) == f"rank 1 raised ValueError: {words}"


def test_a_state_that_cannot_be_sent_is_heard():
    class Odd:
        def state_dict(self):
            return {"rate": lambda: 0}

        def load_state_dict(self, state):
            pass

    errors = Job(2).run(lambda comm: bptt.Shards(comm).start(bptt.RNN(3, 8, 3, seed=0), Odd()))
    assert "pickle" in str(errors[0])
    assert "rank 0 raised" in str(errors[1])


def test_all_may_leave_a_loop_early():
    def run(comm):
        rnn, group = started(comm)
        for w in group.windows(rnn, X, TARGET, truncation=bptt.TBPTT(8)):
            first = w.loss
            break
        return [first] + [w.loss for w in group.windows(rnn, X, TARGET)]

    first, second = Job(2).run(run)
    assert first == second


def test_an_integer_out_of_range_is_named_by_its_place_in_the_batch():
    rnn = bptt.RNN(4, 8, 3, one_hot=True, seed=0)
    group = bptt.Shards(None, 4)
    group.start(rnn)
    x = np.zeros((T, B), int)
    x[3, 10] = 7
    with pytest.raises(ValueError, match=r"x must hold integers in 0..3, got 7 at \[3, 10\]"):
        list(group.windows(rnn, x, TARGET))


def test_ctrl_c_waits_for_the_end_of_a_message():
    quiet = _ranks.Uninterrupted()
    reached = False
    with pytest.raises(KeyboardInterrupt):
        with quiet:
            with quiet:
                signal.raise_signal(signal.SIGINT)
            reached = True
    assert reached
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("after", [False, True])
def test_an_exception_before_a_message_leaves_ctrl_c_as_it_was(after, monkeypatch):
    """As the handler of another signal may raise one, before Ctrl-C is held up or after."""
    quiet, handler, change = _ranks.Uninterrupted(), signal.getsignal(signal.SIGINT), signal.signal

    def broken_change(*arguments):
        monkeypatch.undo()
        if after:
            change(*arguments)
        broken()

    monkeypatch.setattr(signal, "signal", broken_change)
    with pytest.raises(ZeroDivisionError), quiet:
        pass
    assert signal.getsignal(signal.SIGINT) is handler
    assert (quiet.depth, quiet.handler) == (0, None)


def test_one_process_leaves_ctrl_c_alone(monkeypatch):
    """There are no messages. An exception at the wrong instruction would leave the handler changed."""
    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("the handler was changed"))
    shards_job.fit("shuffled", None)
    rnn, group = started(None)
    bptt.fit(rnn, X, TARGET, epochs=1, progress=False)
    assert list(group.windows(rnn, X, TARGET))


# ---- fit --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FITS)
def test_fit_is_the_same_to_the_bit_for_any_number_of_ranks(kind):
    expected, history = shards_job.fit(kind, None)
    assert (history["stopped"] == "patience") == (kind == "ends by patience")
    assert history["loss"][-1] < history["loss"][0]
    for size in (1, 2, 5):
        hashes = [result[0] for result in Job(size).run(lambda comm: shards_job.fit(kind, comm))]
        assert hashes == [expected] * size, size


@pytest.mark.parametrize("kind", FITS)
def test_fit_in_shards_is_fit(kind):
    def histories():
        for shards in (1, 4, None):
            rnn = bptt.RNN(3, 8, 3, seed=0, dtype="float64")
            given = FITS[kind]() | {"seed": 2, "shards": shards, "progress": False, "epochs": 3}
            yield rnn.params, bptt.fit(rnn, X, TARGET, mask=shards_job.MASK[:, ::-1], validation=(X, TARGET), **given)

    *others, (params, history) = histories()
    for other_params, other in others:
        np.testing.assert_allclose(other_params, params, atol=1e-9)
        for name in ("loss", "val_loss", "update_loss", "grad_norm"):
            np.testing.assert_allclose(getattr(other, name), getattr(history, name), rtol=1e-9)
        assert other.metrics.keys() == history.metrics.keys()
        for name, values in history.metrics.items():
            np.testing.assert_allclose(other.metrics[name], values, rtol=1e-9)
            np.testing.assert_allclose(other.val_metrics[name], history.val_metrics[name], rtol=1e-9)


@pytest.mark.parametrize("kind", FITS)
def test_fit_goes_on_with_another_number_of_ranks(kind, tmp_path):
    expected, _ = shards_job.fit(kind, None)
    paths = [tmp_path / "run.safetensors", *[tmp_path / "of no rank but 0"] * 2]

    def until(update):
        def run(comm):
            def on_update(done, history):
                if done == update:
                    raise KeyboardInterrupt

            rank = comm.Get_rank()  # what other ranks are given names no file
            return shards_job.fit(kind, comm, resume=paths[rank], save_every=1, on_update=on_update)

        return run

    for size, update in ((2, 2), (3, 5)):
        errors = Job(size).run(until(update))
        assert [type(error) for error in errors] == [KeyboardInterrupt] * size
    assert os.listdir(tmp_path) == ["run.safetensors"]
    assert [result[0] for result in Job(1).run(until(None))] == [expected]
    assert [result[0] for result in Job(3).run(until(None))] == [expected] * 3


def test_fit_calls_functions_on_rank_0_alone_and_all_stop(capsys):
    calls = []

    def run(comm):
        def callback(epoch, history):
            calls.append((comm.Get_rank(), epoch))
            return epoch == 1

        shown = {"callback": callback, "on_update": lambda update, history: None, "progress": True, "seed": None}
        hash_, history = shards_job.fit("shuffled", comm, epochs=5, **shown)
        return hash_, history["stopped"], len(history["loss"])

    results = Job(3).run(run)
    assert len(set(results)) == 1
    assert results[0][1:] == ("callback", 2)
    assert calls == [(0, 0), (0, 1)]
    assert capsys.readouterr().err.count("epoch 1/5") >= 1


@pytest.mark.parametrize("size", [2, 3])
def test_what_a_callback_changes_reaches_all_ranks(size):
    """A rate that is halved, parameters that are kept within bounds."""

    def run(comm):
        def callback(epoch, history):
            adam.lr *= 0.5

        def on_update(update, history):
            rnn.params.clip(-0.3, 0.3, out=rnn.params)

        rnn = bptt.RNN(3, 8, 3, seed=0, threads=1)
        adam = bptt.Adam(rnn.params, rnn.grads, lr=0.1)
        history = bptt.fit(
            rnn, X, TARGET, optimizer=adam, epochs=3, comm=comm, shards=4, batch_size=6, seed=0, progress=False,
            callback=callback, on_update=on_update,
        )  # fmt: skip
        return rnn.params.tolist(), history.lr, history.update_loss

    expected = run(None)
    assert expected[1][-1] == 0.025
    assert max(expected[0]) == np.float32(0.3)
    assert Job(size).run(run) == [expected] * size


@pytest.mark.parametrize("stopped", [False, True])
def test_a_file_that_cannot_be_written_is_heard(stopped, tmp_path, monkeypatch):
    """After the training was stopped within a pass, too."""
    writes, write_state = [], _resume.write_state

    def failing(path, state):
        writes.append(path)
        if len(writes) > 1:
            raise OSError("no space")
        write_state(path, state)

    monkeypatch.setattr(_resume, "write_state", failing)
    given = {"on_update": lambda update, history: stopped, "truncation": bptt.TBPTT(6), "resume": tmp_path / "run"}
    errors = Job(3).run(lambda comm: shards_job.fit("shuffled", comm, **given))
    assert [type(error) for error in errors] == [OSError, RuntimeError, RuntimeError]
    assert "rank 0 raised OSError: no space" in str(errors[1])


def test_the_end_of_the_program_on_rank_0_ends_all_and_the_file_is_there(tmp_path):
    def on_update(update, history):
        if update == 2:
            sys.exit(3)

    path = tmp_path / "run"
    errors = Job(3).run(lambda comm: shards_job.fit("shuffled", comm, resume=path, on_update=on_update))
    assert [(type(error), error.code) for error in errors] == [(SystemExit, 3)] * 3
    assert shards_job.fit("shuffled", None, resume=path)[0] == shards_job.fit("shuffled", None)[0]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("line", [1, 400, 900, 1300, 1700])
def test_ctrl_c_at_any_line_of_fit_stops_all_ranks(line, rank, tmp_path, monkeypatch):
    """Raised by a tracer at that line of bptt that a rank goes through after its first message. In messages a real
    Ctrl-C comes at their end, see test_ctrl_c_waits_for_the_end_of_a_message."""
    this, lines = threading.local(), []
    enter, leave, table = _ranks.Uninterrupted.__enter__, _ranks.Uninterrupted.__exit__, _ranks.Ranks.table

    def entered(quiet):
        this.depth += 1
        return enter(quiet)

    def left(quiet, *error):
        this.depth -= 1
        return leave(quiet, *error)

    def begun(ranks, *message, **values):
        this.begun = True
        return table(ranks, *message, **values)

    monkeypatch.setattr(_ranks.Uninterrupted, "__enter__", entered)
    monkeypatch.setattr(_ranks.Uninterrupted, "__exit__", left)
    monkeypatch.setattr(_ranks.Ranks, "table", begun)

    def tracer(frame, event, argument):
        if Path(frame.f_code.co_filename).parent != Path(bptt.__file__).parent:
            return None
        if event == "line" and this.begun and not this.depth:
            lines.append(frame.f_lineno)
            if len(lines) == line:
                sys.settrace(None)
                raise KeyboardInterrupt
        return tracer

    def run(comm):
        this.depth, this.begun = 0, False
        if comm.Get_rank() == rank:
            sys.settrace(tracer)
        try:
            return shards_job.fit("shuffled", comm, epochs=1, resume=tmp_path / "run", callback=lambda *_: False)
        finally:
            sys.settrace(None)

    assert [type(error) for error in Job(2).run(run)] == [KeyboardInterrupt] * 2
    assert len(lines) == line


CALLS = {
    "batch size": ({"batch_size": 4}, "rank 1 has batch_size=4"),
    "epochs": ({"epochs": 2}, "rank 1 has epochs=2"),
    "file": ({"resume": "run"}, "rank 1 has resume=True"),
    "optimizer": ({"optimizer": "sgd"}, "rank 1 has optimizer=SGD("),
    "rate": ({"lr": 0.5}, "rank 1 has lr=0.5"),
    "data": ({"x": X[::-1]}, "rank 1 has data[0]=float32[24, 13, 3]"),
    "validation": ({"validation": (X, X)}, "rank 1 has data["),
    "argument": ({"batch_size": "all"}, "rank 1 raised TypeError: batch_size"),
    "metric": ({"broken": "metric"}, "rank 1 raised ZeroDivisionError: of this rank"),
    "rate function": ({"broken": "rate"}, "rank 1 raised ZeroDivisionError: of this rank"),
    "validation metric": ({"broken": "validation"}, "rank 1 raised ZeroDivisionError: of this rank"),
}


@pytest.mark.parametrize("name", CALLS)
def test_fit_compares_its_calls_and_tells_what_one_rank_raises(name, tmp_path):
    change, words = CALLS[name]

    def run(comm):
        mine = change if comm.Get_rank() == 1 else {}

        def metric(y, target):
            broken_here = {"metric": len(rates) > 1, "validation": len(y) > 20}.get(mine.get("broken"))
            return broken() if broken_here else 0.0

        def rate(update):
            rates.append(update)
            return broken() if mine.get("broken") == "rate" and update else 0.01

        rates = []
        rnn = bptt.RNN(3, 8, 3, seed=comm.Get_rank())
        before = rnn.params.copy()
        given = {"x": X, "metrics": metric, "progress": False, "comm": comm, "epochs": 3, "validation": (X, TARGET)}
        given |= {"lr": 0.1} if name == "rate" else {"lr": rate}
        given |= {"truncation": bptt.TBPTT(6)} | {key: value for key, value in mine.items() if key != "broken"}
        if "resume" in mine:
            given["resume"] = tmp_path / "run"
        try:
            bptt.fit(rnn, target=TARGET, **given)
        finally:
            assert "broken" in change or (rnn.params == before).all()

    began = time.monotonic()
    errors = Job(2).run(run)
    assert time.monotonic() - began < SECONDS
    assert words in str(errors[0]), errors
    assert isinstance(errors[1], ZeroDivisionError if "broken" in change else (ValueError, TypeError))
    assert not os.listdir(tmp_path)


# ---- MPI --------------------------------------------------------------------------------------------------

of_processes = pytest.mark.xdist_group("mpi")  # one after another: ranks that wait spin


def mpiexec(size, folder, what):
    """What shards_job.main gives on each rank, where it comes to an end."""
    if os.environ.get("BPTT_SANITIZE") or os.environ.get("LD_PRELOAD"):
        pytest.skip("MPI's own memory is not for the sanitizers")
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    program = shutil.which("mpiexec", path=path)
    if program is None or importlib.util.find_spec("mpi4py") is None:
        pytest.skip("needs mpi4py and mpiexec")
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    more = ["--allow-run-as-root", "--oversubscribe"] if "Open MPI" in version or "OpenRTE" in version else []
    code = "import sys, shards_job; shards_job.main(*sys.argv[1:])"
    script = [sys.executable, "-m", "mpi4py", "-c", code, str(folder), what]
    result = subprocess.run(
        [program, *more, "-n", str(size), *script], capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": PATH},
    )  # fmt: skip
    assert (result.returncode == 0) == (what != "killed"), result.stdout[-2000:] + result.stderr[-4000:]
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{what}*.json"))]


@of_processes
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_processes_get_the_bits_of_one(tmp_path, size):
    expected = shards_job.results(None)
    assert mpiexec(size, tmp_path, "trains") == [expected] * size


FAILS = {  # the error on the rank where it fails, and on the others
    "loss": ("ZeroDivisionError", "RuntimeError"),
    "chunks": ("ZeroDivisionError", "RuntimeError"),
    "Ctrl-C": ("KeyboardInterrupt", "KeyboardInterrupt"),
    "kernel set": ("ValueError", "ValueError"),
    "spec": ("ValueError", "ValueError"),
    "data": ("ValueError", "ValueError"),
    "callback": ("RuntimeError", "RuntimeError"),
    "metric": ("ZeroDivisionError", "RuntimeError"),
    "Ctrl-C in fit": ("KeyboardInterrupt", "KeyboardInterrupt"),
    "another file": ("ValueError", "ValueError"),
}


@of_processes
def test_what_one_process_raises_makes_all_raise(tmp_path):
    expected = shards_job.fit("shuffled", None)[0]
    *others, last = mpiexec(3, tmp_path, "raises")
    for errors, after in (*others, last):
        assert {name: seconds for name, (_, seconds) in errors.items() if seconds > SECONDS} == {}
        assert after == expected
    assert {name: kind for name, (kind, _) in last[0].items()} == {name: there for name, (there, _) in FAILS.items()}
    for errors, _ in others:
        kinds = {name: kind for name, (kind, _) in errors.items()}
        first = {"callback": "ZeroDivisionError"} if errors is others[0][0] else {}
        assert kinds == {name: here for name, (_, here) in FAILS.items()} | first


@of_processes
def test_a_process_that_is_killed_ends_the_job_and_resuming_loses_no_update(tmp_path):
    began = time.monotonic()
    assert mpiexec(2, tmp_path, "killed") == []
    assert time.monotonic() - began < 2 * SECONDS  # with the start of the processes
    updates = []
    result, _ = shards_job.fit(
        "shuffled", None, resume=tmp_path / "killed_run", save_every=1,
        on_update=lambda update, history: updates.append(update),
    )  # fmt: skip
    assert result == shards_job.fit("shuffled", None)[0]
    assert 0 < updates[0] < updates[-1]
