"""The modules of docs/extensions.md, built as the page says from the files that it shows; they train as Python does."""

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from test_docs import DOCS, PAGES, blocks
from test_link import LINK, SANITIZE, has_python_headers, path, python, tool

import bptt

EXTENSIONS = LINK / "extensions"
LIBRARIES = ["nanobind", "pybind11"]
PAGE = "docs/extensions.md"

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="needs a POSIX C compiler"),
    pytest.mark.skipif(
        bool(SANITIZE or os.environ.get("BPTT_COVERAGE")), reason="the build files do not name the archive's own flags"
    ),
]

TRAINING = """
import sys
import numpy as np
import trainer
x, target, params = (np.load(f"{name}.npy") for name in ("x", "target", "params"))
network = trainer.Network(2, 16, 2)
network.params[:] = params
losses = [network.train(x, target, updates=n) for n in (1, 20, 20)]
wrong = 0
for arguments in ((x[:, :, :1], target), (x, target[1:]), (x, target[..., :1]), (x[0], target), (x, target[0])):
    try:
        network.train(*arguments, updates=1)
    except (TypeError, ValueError):
        wrong += 1
for sizes in ((0, 16, 2), (2, -1, 2)):
    try:
        trainer.Network(*sizes)
    except ValueError:
        wrong += 1
params = network.params
del network
np.save("trained", params)
print(*losses, wrong)
"""


def built(library, folder):
    """The files of the page in one folder, installed by pip into another."""
    for needed in (library, "scikit_build_core"):
        pytest.importorskip(needed)
    tool("cmake")
    tool("c++")
    tool("ninja", "make")
    if not has_python_headers():
        pytest.skip("needs Python.h")
    source = folder / "source"
    shutil.copytree(EXTENSIONS / library, source)
    shutil.copy(EXTENSIONS / "network.hpp", source)
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q"]
    environment = {"PYTHONPATH": path(), "SKBUILD_CMAKE_BUILD_TYPE": "Debug"}  # compiles in half the time
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    python("-m", "pip", "install", *offline, "--target", folder / "installed", ".", cwd=source, **environment)
    return folder / "installed"


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_module_trains_as_python_does(library, tmp_path):
    installed = built(library, tmp_path)
    rng = np.random.default_rng(0)
    rnn = bptt.RNN(2, 16, 2, seed=0)
    x = rng.normal(size=(20, 4, 2)).astype(np.float32)
    target = np.roll(x, 1, axis=0)
    for name, array in {"x": x, "target": target, "params": rnn.params}.items():
        np.save(tmp_path / name, array)
    *losses, wrong = python("-c", TRAINING, cwd=tmp_path, PYTHONPATH=path(installed)).split()

    optimizer, expected = bptt.Adam(rnn.params, rnn.grads, lr=1e-2), []
    for update in range(1 + 20 + 20):
        y, _ = rnn.forward(x)
        loss, dy = bptt.mse(y, target)
        rnn.zero_grad()
        rnn.backward(dy)
        rnn.clip_grad_norm(1.0)
        optimizer.step()
        if update in (0, 20, 40):
            expected.append(loss)
    assert [float(loss) for loss in losses] == expected
    assert expected[-1] < 0.5 * expected[0]
    assert (np.load(tmp_path / "trained.npy") == rnn.params).all()
    assert int(wrong) == 7
    (example,) = blocks(PAGE, "py")
    assert float(python("-c", example, cwd=tmp_path, PYTHONPATH=path(installed))) < 0.1


def test_the_page_shows_every_file():
    shown = re.findall(r"^```\{literalinclude\} (\S+)$", PAGES[PAGE], re.M)
    files = [file for file in EXTENSIONS.rglob("*") if file.is_file() and file.name != ".clang-format"]
    assert sorted((DOCS / name).resolve() for name in shown) == sorted(file.resolve() for file in files)
    assert len(files) == 1 + 3 * len(LIBRARIES)


def test_code_fits_into_the_width_of_the_site():
    lines = [line for file in EXTENSIONS.rglob("*.[ch]pp") for line in file.read_text("utf-8").splitlines()]
    assert len(lines) > 100
    assert max(map(len, lines)) <= 88
