import os
import signal

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's threads spin, which takes minutes where others run beside

import cases
import numpy as np
import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs, but tests send it


ONE_PROCESS = {"test_c", "test_isa"}  # their tests share what takes long, which every process of pytest-xdist would do


def pytest_collection_modifyitems(items):
    for item in items:
        if item.module.__name__ in ONE_PROCESS:
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))


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
