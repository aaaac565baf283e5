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
def memory_for(learner, exact, spec, needed, influence):
    """For the allocation of a learner's `needed` bytes: a MemoryError that says what they are if there are not so
    many. exact: whether its influence is a whole matrix, as RTRL's, or one number for each parameter."""
    parts, size = 2 if spec.cell == "lstm" else 1, 4 if spec.dtype == "float32" else 8
    states = "2*H" if parts == 2 else "H"
    formula = f"B*{states}*P" if exact else "B*2*P" if parts == 2 else "B*P"
    table = " and the table B*V*I*" + states if spec.num_embeddings and not exact else ""
    name = type(learner).__name__
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
