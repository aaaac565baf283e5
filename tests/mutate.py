"""Mutated files: python tests/mutate.py model|training|onnx|audio [COUNT] [SEED]

Each mutated file must end in the right network, or in a ValueError or OSError that names the path, within 2 GB and
5 seconds of the processor. Anything else is a finding: it is printed, its file is kept, and the exit code is 1.

A kind of files is a module `mutate_{kind}` beside this one with three functions:

    seeds() -> list of bytes        whole files
    mutate(data, rng) -> bytes      one of them changed; rng is a random.Random
    read(path) -> network           raises AssertionError if it is not the network that the file describes

A worker process reads many files, one after another. It is replaced when it dies or takes too long.
"""

import importlib
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

SECONDS = 5  # of the processor, for one file
MEMORY = 2 << 30  # bytes of the worker's data
WAIT_SECONDS = 120  # for a message of the worker, on a busy machine


def mutation(kind, seed, number) -> bytes:
    """The number-th mutated file, the same in every process."""
    rng = random.Random(f"{seed}/{number}")
    return kind.mutate(rng.choice(kind.seeds()), rng)


def outcome(kind, path) -> tuple[str, str]:
    """(what reading the file ended in, the text of a finding or "")."""
    try:
        kind.read(path)
    except (ValueError, OSError) as error:
        name = "OSError" if isinstance(error, OSError) else "ValueError"
        return (name, "") if str(path) in str(error) else ("no path", f"{name} without the path: {error}")
    except BaseException as error:
        return type(error).__name__, f"{type(error).__name__}: {error}"
    return "network", ""


def work(connection, name, seed, numbers, folder, seconds):
    """The worker: sends (number, outcome, finding) for each number. A file that takes longer ends it by SIGPROF."""
    kind = importlib.import_module(f"mutate_{name}")
    kind.seeds()
    if "BPTT_SANITIZE" not in os.environ:  # sanitizers reserve far more
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    connection.send("ready")
    for number in numbers:
        path = Path(folder, f"{name}-{seed}-{number}")
        try:
            path.write_bytes(mutation(kind, seed, number))
        except Exception:
            connection.send((number, "mutate() failed", traceback.format_exc()))
            continue
        signal.setitimer(signal.ITIMER_PROF, seconds)
        found = outcome(kind, path)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if not found[1]:
            path.unlink()
        connection.send((number, *found))


class Worker:
    """A worker process and the pipe from it."""

    def __init__(self, *arguments):
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe(duplex=False)
        self.process = spawn.Process(target=work, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()
        if self.receive() != "ready":
            raise RuntimeError(f"the worker did not start: {self.death()}")

    def receive(self):
        """The next message, or None if there was none in time."""
        try:
            return self.connection.recv() if self.connection.poll(WAIT_SECONDS) else None
        except (EOFError, ConnectionResetError):
            return None

    def death(self) -> str:
        """Why there was no message."""
        self.process.join(10)
        code = self.process.exitcode
        self.close()
        return "took too long" if code in (None, -signal.SIGPROF) else f"died with exit code {code}"

    def close(self):
        self.process.kill()
        self.process.join()
        self.connection.close()


def run(name, count, seed, folder, seconds=SECONDS) -> tuple[Counter, list[str]]:
    """Counts of each outcome of `count` mutated files, and the findings, whose files are left in the folder."""
    counts, findings, numbers = Counter(), [], range(count)
    while numbers:
        worker = Worker(name, seed, numbers, folder, seconds)
        while numbers:
            message = worker.receive()
            number, ended, text = message or (numbers[0], "worker ended", f"the worker {worker.death()}")
            counts[ended] += 1
            if text:
                findings.append(f"{Path(folder, f'{name}-{seed}-{number}')}: {text}")
            numbers = numbers[1:]
            if message is None:
                break
        else:
            worker.close()
    return counts, findings


def main(name, count="20000", seed="0"):
    folder = tempfile.mkdtemp(prefix="mutated-")
    counts, findings = run(name, int(count), seed, folder)
    print(f"{name}: {counts.total()} mutated files:", ", ".join(f"{n} {kind}" for kind, n in counts.most_common()))
    print(*findings, sep="\n", end="\n" if findings else "")
    if not findings:
        os.rmdir(folder)
    return 1 if findings else 0


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
