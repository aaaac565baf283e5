"""What the writers of files do on a disk that is full, and on one that is read-only.

    unshare -rm python tests/full_disk.py

Needs a mount namespace of its own: it mounts a file system of 1 MB in memory.
"""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import bptt

SIZE = 1 << 20


def network(seed=0):
    """A file of 24 kB."""
    return bptt.RNN(1, 36, 1, cell="lstm", seed=seed)


def save_training(rnn, path):
    bptt.save_training(path, rnn, bptt.Adam(rnn.params, rnn.grads), epoch=1)


def resume(rnn, path):
    x = np.ones((3, 2, 1), np.float32)
    bptt.fit(rnn, x, x, epochs=4 if os.path.exists(path) else 2, progress=False, seed=0, resume=path)


def to_c(rnn, path):
    bptt.convert.to_c(rnn, os.path.dirname(path), "network")


WRITERS = {
    "model": bptt.RNN.save,
    "training": save_training,
    "resumed": resume,
    "model.onnx": bptt.convert.to_onnx,
    "network.c": to_c,
    "model.json": bptt.convert.to_rtneural,
    "model.nam": bptt.convert.to_nam,
}
TRAINS = {"resumed"}  # where whole updates may have come before the file is written
try:
    import onnx  # noqa: F401
except ImportError:
    del WRITERS["model.onnx"]


def error_of(call):
    try:
        call()
    except OSError as error:
        return error
    raise AssertionError("all was written")


def files_of(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def expect_error(name, folder, code, rnn):
    """The writer raises an OSError of this number that names its file; files and network are as before."""
    before, params = files_of(folder), rnn.params.copy()
    path = os.path.join(folder, name)
    error = error_of(lambda: WRITERS[name](rnn, path))
    named = os.path.splitext(error.filename)[0]  # to_c writes a .h beside
    assert (error.errno, named) == (code, os.path.splitext(path)[0]), error
    assert files_of(folder) == before, f"{name} changed {[*before]} to {[*files_of(folder)]}"
    assert name in TRAINS or np.array_equal(rnn.params, params)


def fill(path):
    with open(path, "wb", buffering=0) as file:
        error = error_of(lambda: [file.write(bytes(4096)) for _ in range(SIZE)])
    assert error.errno == errno.ENOSPC, error


def check_full(folder, rnn):
    """Where there is no file so far, and where there is one to replace; then there is space again."""
    ballast = Path(folder) / "ballast"
    for name in WRITERS:
        for _ in range(2):
            fill(ballast)
            expect_error(name, folder, errno.ENOSPC, rnn)
            ballast.unlink()
            WRITERS[name](network(1), os.path.join(folder, name))
        for path in Path(folder).iterdir():
            path.unlink()


def check_read_only(folder, rnn):
    for name in WRITERS:
        mount(folder, "remount,rw")
        WRITERS[name](network(1), os.path.join(folder, name))
        mount(folder, "remount,ro")
        expect_error(name, folder, errno.EROFS, rnn)
    mount(folder, "remount,rw")


def mount(folder, options, *more):
    subprocess.run(["mount", "-o", options, *more, folder], check=True)


def main():
    rnn = network()
    with tempfile.TemporaryDirectory() as folder:
        mount(folder, f"size={SIZE}", "-t", "tmpfs", "tmpfs")
        try:
            check_full(folder, rnn)
            check_read_only(folder, rnn)
        finally:
            subprocess.run(["umount", folder], check=True)
    print(f"{len(WRITERS)} writers: errors that name the file, and nothing lost")


if __name__ == "__main__":
    sys.exit(main())
