"""The script that mutates files: what it takes for a finding, and a short run of it."""

import importlib
import os
import sys

import pytest

pytest.importorskip("resource", reason="limits of POSIX")
import mutate
import mutate_model

import bptt

KIND = """
import os

def seeds():
    return list(ENDS)

def mutate(data, rng):
    return data

def read(path):
    return ENDS[path.read_bytes()](path)

def refuse(error):
    raise error

ENDS = {
    b"network": lambda path: None,
    b"ValueError": lambda path: refuse(ValueError(f"{path} is no file")),
    b"OSError": lambda path: open(path / "none"),
    b"no path": lambda path: refuse(ValueError("it is no file")),
    b"KeyError": lambda path: refuse(KeyError(str(path))),
    b"AssertionError": lambda path: refuse(AssertionError("another network")),
    b"MemoryError": lambda path: bytearray(3 << 30),
    b"died": lambda path: os._exit(7),
    b"took too long": lambda path: any(iter(int, 1)),
}
"""


@pytest.mark.skipif(sys.platform != "linux" or "BPTT_SANITIZE" in os.environ, reason="memory has no limit")
def test_findings(tmp_path, monkeypatch):
    """A worker that ends is replaced, its file counts once, and no file is left but those of findings."""
    (tmp_path / "mutate_fake.py").write_text(KIND)
    monkeypatch.syspath_prepend(tmp_path)
    fake, count, seed = importlib.import_module("mutate_fake"), 14, 627  # every end once at least
    ends = [mutate.mutation(fake, seed, number).decode() for number in range(count)]
    assert set(ends) == {name.decode() for name in fake.ENDS}
    folder = tmp_path / "files"
    folder.mkdir()
    counts, findings = mutate.run("fake", count, seed, folder, seconds=1)
    assert counts.total() == count
    expected = {n: end for n, end in enumerate(ends) if end not in ("network", "ValueError", "OSError")}
    assert {path.name for path in folder.iterdir()} == {f"fake-{seed}-{number}" for number in expected}
    for finding, (number, end) in zip(findings, expected.items(), strict=True):
        assert finding.startswith(f"{folder}/fake-{seed}-{number}: ")
        assert ("without the path" if end == "no path" else end) in finding


@pytest.mark.parametrize("kind, count", [("model", 400), ("audio", 400), ("training", 200)])
def test_a_short_run(kind, count, tmp_path):
    counts, findings = mutate.run(kind, count, 0, tmp_path)
    assert findings == []
    assert counts["ValueError"] > count / 2
    assert counts["network"] > count / 40


def test_model_files_are_compared_with_the_network(tmp_path):
    rnn, path = bptt.RNN(2, 3, 1, seed=0), tmp_path / "model"
    rnn.save(path)
    mutate_model.check(path, rnn)
    rnn.params[5] = -0.0
    for other in (rnn, bptt.RNN(2, 3, 1, dropout=0.5, num_layers=2), bptt.RNN(2, 3, 1, dtype="float64")):
        with pytest.raises(AssertionError):
            mutate_model.check(path, other)
