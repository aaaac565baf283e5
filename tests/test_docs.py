"""The guide's blocks run, in order, as a reader would type them."""

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["docs/guide.md", "README.md"])
def test_blocks_run(page, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    assert blocks
    names = {}
    for block in blocks:
        needed = re.findall(r"^import (torch|onnx)$", block, re.M)
        if any(find_spec(name) is None for name in needed):
            continue
        exec(compile(block, page, "exec"), names)
    assert isinstance(names["rnn"].params, np.ndarray)
    assert np.isfinite(names["rnn"].params).all()
