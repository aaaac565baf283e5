import os
import signal

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's threads spin, which takes minutes where others run beside

import cases
import numpy as np
import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs, but tests send it


def shared(item):
    """A name of what takes long and several tests share, so that one process of pytest-xdist runs them all; or None."""
    module = item.module.__name__
    if module == "test_c" and hasattr(item, "callspec"):
        return "{name}_f{bits}".format(**item.callspec.params)  # a program to compile
    return module if module == "test_isa" else None


def pytest_collection_modifyitems(items):
    for item in items:
        if name := shared(item):
            item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.fixture(scope="session")
def torch():
    """On one thread: its pool spins between small operations, which takes minutes where others run beside."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch


@pytest.fixture
def problem():
    return cases.Problem
