"""Sequences of calls of the Python package for a time: python tests/fuzz/sequences.py SECONDS

tests/test_state_machine.py says what they are.
Sequences that failed are kept in build/fuzz/corpus/sequences and come first the next time.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.stateful import run_state_machine_as_test
from test_state_machine import Calls

EXAMPLES = 50  # between two looks at the clock


def main(seconds):
    end, sequences = time.monotonic() + float(seconds), 0
    chosen = settings(
        max_examples=EXAMPLES,
        stateful_step_count=60,
        deadline=None,
        print_blob=True,
        database=DirectoryBasedExampleDatabase("build/fuzz/corpus/sequences"),
        suppress_health_check=list(HealthCheck),
    )
    while time.monotonic() < end:
        run_state_machine_as_test(Calls, settings=chosen)
        sequences += EXAMPLES
    print(f"{sequences} sequences of {Calls.ran} calls")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
