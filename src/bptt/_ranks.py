"""The processes of a training, the ranks: messages between them, and errors that all of them get to know."""

from __future__ import annotations

import os
import pickle
import platform
import signal
import threading
from contextlib import contextmanager, nullcontext

import numpy as np

from ._checks import brief

WINDOW, RESULT, END, OBJECTS, FAILED = range(1, 6)
"""What a message is: before a window, after it, at the end of a call, before objects, or that a rank raised."""
PLACES = {WINDOW: "before a window", RESULT: "after a window", END: "at the end", OBJECTS: "elsewhere"}
METHODS = (
    "Get_rank", "Get_size", "allgather", "bcast", "Allgather", "Send", "Recv", "Bcast", "Alltoallv", "Allgatherv",
)  # fmt: skip
HEADER = 4  # numbers before the entries of the rank's shards: what it is, two for what it is about, a checksum


class Ranks:
    """The processes, and their messages. Every message begins with a table of one size: so a rank that raised, or went
    another way, is found out by all, wherever it is."""

    def __init__(self, comm) -> None:
        lacking = [name for name in METHODS if not callable(getattr(comm, name, None))] if comm is not None else []
        if lacking or isinstance(comm, type):
            raise TypeError(
                f"comm must be a communicator of mpi4py, such as MPI.COMM_WORLD, or None, got {brief(comm)}, which has "
                f"no {', '.join(lacking) or 'rank'}"
            )
        self.comm = comm
        self.rank = 0 if comm is None else comm.Get_rank()
        self.size = 1 if comm is None else comm.Get_size()
        self.entries = 1  # shards of a rank, at most
        self.quiet = nullcontext() if self.size == 1 else Uninterrupted()
        self.begin()

    def begin(self) -> None:
        """The beginning of a call that all ranks make."""
        self.told = False  # whether nobody is to be told of an error: all know of one, or have left the call
        self.stopped = False  # whether all ranks stop by KeyboardInterrupt or SystemExit

    def leave(self) -> None:
        """The last message of the call."""
        with self.quiet:
            self.table(END)
            self.told = True

    def table(self, kind, about=(), values=()) -> np.ndarray:
        """(size, ...): the numbers of every rank. An error on all ranks unless all are at this message."""
        mine = np.zeros(HEADER + self.entries)
        mine[0], mine[1 : 1 + len(about)] = kind, about
        mine[HEADER : HEADER + len(values)] = values
        if self.size == 1:
            return mine[None]
        table = np.empty((self.size, mine.size))
        with self.quiet:
            self.comm.Allgather(mine, table)
            if (table[:, 0] != kind).any():
                self._raise(table[:, 0])
        return table

    def objects(self, value) -> list:
        """The objects of all ranks."""
        if self.size == 1:
            return [value]
        packed = pickle.dumps(value)  # what cannot be sent is an error here, while the others can be told
        with self.quiet:
            self.table(OBJECTS)
            return list(map(pickle.loads, self.comm.allgather(packed)))

    def first(self, function):
        """What the function returns on rank 0; what it raises there is raised on all."""
        with self.telling():
            value = None if self.rank else function()
            if self.size == 1:
                return value
            packed = None if self.rank else pickle.dumps(value)
            with self.quiet:
                self.table(OBJECTS)
                packed = self.comm.bcast(packed, root=0)
            return pickle.loads(packed) if self.rank else value

    def check_same(self, facts, what) -> None:
        """A ValueError on all ranks that says in which entries the first rank that differs from rank 0 does."""
        all_facts = self.objects(facts)
        for rank, theirs in enumerate(all_facts):
            names = [name for name in {**all_facts[0], **theirs} if theirs.get(name) != all_facts[0].get(name)]
            if names:
                self.told = True
                there, here = (", ".join(f"{name}={one.get(name)}" for name in names) for one in (theirs, all_facts[0]))
                raise ValueError(f"{what} must be the same on all ranks: rank {rank} has {there}; rank 0 has {here}")

    @contextmanager
    def telling(self):
        """Around what may raise: all ranks get to know."""
        try:
            yield
        except BaseException as error:
            self.tell(error)
            raise

    def tell(self, error) -> None:
        """Tell all ranks that this one raises, unless they know."""
        if self.told or self.size == 1:
            return
        self.told = True
        mine, table = np.zeros(HEADER + self.entries), np.empty((self.size, HEADER + self.entries))
        mine[0] = FAILED
        with self.quiet:
            self.comm.Allgather(mine, table)
            self._errors(error_elsewhere(error, self.rank))

    def _errors(self, mine):
        """What the other ranks are to raise, by each rank that raised; None by the others."""
        errors = self.comm.allgather(mine)
        self.stopped = not any(isinstance(error, Exception) for error in errors)
        return errors

    def _raise(self, kinds):
        """The error of a rank that did not raise by itself."""
        self.told = True
        for error in self._errors(None):
            if error is not None:
                raise error
        self.stopped = False
        places = ", ".join(f"rank {rank} is {PLACES[int(kind)]}" for rank, kind in enumerate(kinds))
        raise RuntimeError(f"the ranks must make the same calls over as many steps, but {places}")

    @contextmanager
    def together(self):
        """Around a call: where all ranks stop, none leaves it before the others are ready to; rank 0 may still write a
        file, and the end of a process may end all."""
        try:
            yield
        finally:
            if self.stopped:
                with self.quiet:
                    self.comm.allgather(None)

    def processors(self) -> int:
        """This rank's share of the processors that it may run on, which other ranks of its machine may use too."""
        own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
        there = [cores for host, cores in self.objects((platform.node(), own)) if host == platform.node()]
        return max(1, int(sum(1 / sum(core in cores for cores in there) for core in own) + 1e-6))


def error_elsewhere(error, rank) -> BaseException:
    """What the other ranks raise when an error came up on this one."""
    if isinstance(error, GeneratorExit):
        return RuntimeError(f"rank {rank} left the loop over its windows")
    text = f"rank {rank} raised {type(error).__name__}: {error}"
    if isinstance(error, SystemExit):
        return SystemExit(error.code if isinstance(error.code, (int, type(None))) else text)
    return KeyboardInterrupt(text) if isinstance(error, KeyboardInterrupt) else RuntimeError(text)


class Uninterrupted:
    """Around messages: Ctrl-C comes at the end, so that no rank is left alone in the middle of one."""

    def __init__(self) -> None:
        self.depth, self.handler, self.pending = 0, None, None

    def __enter__(self):
        depth = self.depth
        try:
            self.depth = depth + 1
            if not depth and threading.current_thread() is threading.main_thread():
                self._hold()
        except BaseException:  # of the handler of another signal
            self.depth = depth
            if not depth:
                self._restore()
            raise

    def _hold(self):
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            self.handler, self.pending = handler, None
            signal.signal(signal.SIGINT, self._note)

    def _restore(self):
        if self.handler is not None:
            signal.signal(signal.SIGINT, self.handler)
            self.handler = None

    def _note(self, number, frame):
        self.pending = number, frame

    def __exit__(self, *_):
        self.depth -= 1
        if self.depth or self.handler is None:
            return
        handler = self.handler
        self._restore()  # from here on Ctrl-C is not noted: what was is known
        if self.pending:
            handler(*self.pending)
