"""Whether a large buffer fits into this machine's memory, before it is allocated."""

import os
from contextlib import contextmanager


def physical_memory() -> int | None:
    """Bytes of memory that this machine has; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


@contextmanager
def memory_for(learner, spec, needed, influence):
    """For the allocation of a learner's `needed` bytes: a MemoryError that says what they are if there are not so
    many."""
    name, parts = type(learner).__name__, 2 if spec.cell == "lstm" else 1
    states, size = "2*H" if parts == 2 else "H", 4 if spec.dtype == "float32" else 8
    formula = f"B*{states}*P" if name != "SnAp1" else "B*2*P" if parts == 2 else "B*P"
    table = " and the table B*V*I*" + states if name == "SnAp1" and spec.num_embeddings else ""
    text = (
        f"{name} needs {needed:,} bytes for batch = {learner.batch}, hidden_size = {spec.hidden_size}: its influence "
        f"has {formula}{table} = {influence:,} numbers of {size} bytes, P the parameters without the readout"
    )
    there = physical_memory()
    if there is not None and needed > there:
        raise MemoryError(f"{text}; this machine has {there:,} bytes")
    try:
        yield
    except MemoryError:
        raise MemoryError(text) from None
