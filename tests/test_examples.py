"""The examples run, in a short form."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bptt

ROOT = Path(__file__).parents[1]


def run(script, *arguments, code=0):
    result = subprocess.run([sys.executable, ROOT / "examples" / script, *map(str, arguments)], capture_output=True,
                            text=True, env={**os.environ, "MPLBACKEND": "Agg"})  # fmt: skip
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.mark.skipif("BPTT_SANITIZE" in os.environ, reason="matplotlib is not there")
def test_char_rnn(tmp_path):
    text = run("char_rnn.py", "--seconds", 6, "--out", tmp_path)
    network = float(re.search(r"([\d.]+)  this network", text)[1])
    markov = float(re.search(r"([\d.]+)  order-2 Markov", text)[1])
    assert 1 < network < 6
    assert 2 < markov < 3
    assert bptt.RNN.load(tmp_path / "char_rnn.safetensors").output_size > 50
    assert (tmp_path / "char_rnn.png").stat().st_size > 20_000


def test_char_rnn_says_what_is_wrong(tmp_path):
    assert "nowhere.txt" in run("char_rnn.py", tmp_path / "nowhere.txt", code=1)
    small = tmp_path / "small.txt"
    small.write_text("too short")
    assert "small.txt" in run("char_rnn.py", small, code=1)


@pytest.mark.skipif("BPTT_SANITIZE" in os.environ, reason="matplotlib is not there")
def test_gradient_flow(tmp_path):
    text = run("gradient_flow.py", tmp_path / "flow.png", "--steps", 60, "--hidden", 20)
    assert re.findall(r"over 59 steps: (\w+)", text) == ["vanishing", "healthy"]
    assert (tmp_path / "flow.png").stat().st_size > 20_000
    assert "--steps must be at least 2" in run("gradient_flow.py", "--steps", 1, code=2)


@pytest.mark.skipif("BPTT_SANITIZE" in os.environ, reason="matplotlib is not there")
def test_sunspots(tmp_path):
    pytest.importorskip("statsmodels")
    text = run("sunspots.py", tmp_path / "sunspots.png", "--members", 4, "--updates", 100)
    errors = {name: float(error) for error, name in re.findall(r"^ +([\d.]+)  (.+)$", text, re.M)}
    assert 14 < errors["networks"] < errors["AR(9)"] < errors["naive: same as this year"] < 34
    assert errors["AR(9) of square roots"] == pytest.approx(16.4, abs=0.02)
    assert (tmp_path / "sunspots.png").stat().st_size > 20_000
    assert "--updates at least 20" in run("sunspots.py", "--updates", 1, code=2)
