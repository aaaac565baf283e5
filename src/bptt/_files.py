"""Model files: safetensors with the network's description as JSON in the metadata."""

import errno
import hashlib
import json
import os
import reprlib
import secrets
import stat
import sys
from contextlib import ExitStack, contextmanager, suppress

import safetensors.numpy

from . import _core
from ._description import object_from_json, spec_of
from ._init import zeros
from ._safetensors import check_data, read_data, read_header
from ._spec import Spec

if sys.platform != "win32":
    import fcntl

FORMAT = 1
DTYPE_CODES = {"float32": "F32", "float64": "F64"}  # of safetensors


def file_name(path, argument="path") -> str:
    """The path as text."""
    try:
        name = os.fsdecode(path)
    except TypeError:
        raise TypeError(f"{argument} must be a str or path-like, got {path!r}") from None
    if "\0" in name:
        raise ValueError(f"{argument} must be without null characters, got {name!r}")
    return name


# ---- writing ---------------------------------------------------------------------------------------------


def save(rnn, path) -> None:
    path = file_name(path)
    description = rnn.description() | {"format": FORMAT}
    write_whole(path, safetensors.numpy.save(rnn.state_dict(), {"bptt": json.dumps(description)}))


def write_whole(path: str, data: bytes) -> None:
    """Write a file. At any moment `path` holds all old bytes or all new ones.

    A device, a pipe or an open file that has no name (/dev/stdout) cannot be replaced: it is written to.
    """
    write_together({path: data})


def write_together(files: dict[str, bytes]) -> None:
    """Write files {path: data}, each as write_whole does. No path changes before the data of all is on the disk."""
    with ExitStack() as stack:
        last_steps = []
        for path, data in files.items():
            with naming(path):
                last_steps.append((path, stack.enter_context(_prepared(path, data))))
        for path, last_step in last_steps:
            with naming(path):
                last_step()


@contextmanager
def _prepared(path, data):
    """A write up to the step that changes `path`; yields a function for that step."""
    target = os.path.realpath(path)  # a link keeps pointing where it did
    old, named = _status_of_both(path, target)
    if os.path.basename(path) in ("", ".", "..") or (old and stat.S_ISDIR(old.st_mode)):
        code = errno.EISDIR if path else errno.ENOENT
        raise OSError(code, os.strerror(code))
    if old and not (stat.S_ISREG(old.st_mode) and _same(old, named)):
        yield lambda: _write_to(path, data)
    else:
        with _temporary(target, data, None if old is None else stat.S_IMODE(old.st_mode) & 0o777) as name:
            yield lambda: os.replace(name, target)
        _sync_folder(os.path.dirname(target))


def _write_to(path, data):
    with open(path, "wb") as file:
        file.write(data)


def _status(path):
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _same(one, other):
    return one is not None and other is not None and os.path.samestat(one, other)


def _status_of_both(path, target):
    """That of the path and that of the name it stands for, of one moment: another save may replace the file between."""
    while True:
        one, other = _status(path), _status(target)
        if one is None or _same(one, other) or _same(one, _status(path)):
            return one, other


@contextmanager
def naming(path):
    """The OSErrors of the system name this path."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, path) from error


@contextmanager
def _temporary(target, data, mode):
    """The name of a new file with this data, in the target's folder. It is removed at the end unless it was renamed.

    It is locked as long as it is open. The lock tells a save that runs, in any process, from one that was killed: the
    system frees it.
    """
    folder, prefix = os.path.dirname(target), _temporary_prefix(target)
    _remove_stale(folder, prefix)
    while True:
        name = os.path.join(folder, f"{prefix}{secrets.token_hex(6)}.tmp")
        try:
            with open(name, "xb") as file:
                if _lock(file) is False or not os.path.exists(name):
                    continue  # another save took it for stale before the lock
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                if mode is not None:
                    os.chmod(name, mode)  # that of the file that is replaced
                if sys.platform == "win32":
                    file.close()  # an open file cannot be renamed there
                yield name
                return
        finally:  # Ctrl-C may come when open has made the file, but before it has returned
            with suppress(FileNotFoundError):
                os.unlink(name)


def _temporary_prefix(path) -> str:
    """Begins the names of the temporary files of one target. It is short: the target's own name may be as long as the
    system allows."""
    return f".bptt-{hashlib.sha256(os.fsencode(os.path.basename(path))).hexdigest()[:12]}-"


def _lock(file):
    """Whether the file is locked now: False if another save has it locked, None where there are no locks."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _remove_stale(folder, prefix):
    """Remove what killed saves of the same file left."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(prefix):
                with suppress(OSError), open(os.path.join(folder, name), "r+b") as file:
                    if _lock(file):
                        os.unlink(file.name)


def _sync_folder(folder):
    """Have the new name survive a power cut."""
    with suppress(OSError):  # Windows opens no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# ---- reading ---------------------------------------------------------------------------------------------


def load(cls, path, threads):
    path = file_name(path)
    try:
        with naming(path), open(path, "rb", opener=open_at_once) as file:
            tensors, metadata = read_header(file)
            spec = _declared(tensors, metadata)
            check_data(file, tensors)
            rnn = cls(**spec.description(), init=zeros, threads=threads)
            read_data(file, tensors, rnn.param_views())
    except ValueError as error:
        raise ValueError(f"path must name a model file, got {path}: {error}") from error
    return rnn


def open_at_once(path, flags):
    """A pipe that nobody writes to would hold up a plain open."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _declared(tensors, metadata) -> Spec:
    """The Spec that the metadata declare, where the tensors of the header are those of the Spec."""
    text = metadata.get("bptt")
    if text is None:
        raise ValueError(
            "it is a training file, which bptt.load_training reads"
            if "bptt_training" in metadata
            else "a safetensors file that bptt did not write"
        )
    fields = object_from_json(text)
    found = fields.pop("format", None)
    if type(found) is not int or found != FORMAT:
        raise ValueError(f"its format is {reprlib.repr(found)}, this version reads {FORMAT}")
    spec = spec_of(fields)
    unknown = set(tensors)
    for name, _, shape in _core.tensors_of(spec):  # stops at the first that is not there: a spec may declare thousands
        if name not in tensors:
            raise ValueError(f"the tensor {name} of its description is missing")
        unknown.remove(name)
        code, tensor = DTYPE_CODES[spec.dtype], tensors[name]
        found = (tensor.get("dtype"), tensor.get("shape")) if isinstance(tensor, dict) else (None, None)
        if found != (code, list(shape)):
            raise ValueError(
                f"the tensor {name} is {reprlib.repr(found[0])} {reprlib.repr(found[1])}, "
                f"the description says {code} {list(shape)}"
            )
    if unknown:
        raise ValueError(f"its description has no tensors {reprlib.repr(sorted(unknown))}")
    return spec
