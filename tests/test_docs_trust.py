"""The page of promises: what it names is there, so that its figures can be renewed."""

import os
import re
from pathlib import Path

import pytest
from test_docs import PAGES

ROOT = Path(__file__).parents[1]
PAGE = PAGES["docs/trust.md"]

pytestmark = pytest.mark.skipif(not (ROOT / "Makefile").exists(), reason="needs the sources")


def test_goals_exist():
    goals = set(re.findall(r"`make ([\w-]+)", PAGE))
    assert {"test", "sanitize", "ctest"} <= goals
    assert goals <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))


def test_files_exist():
    named = set(re.findall(r"(?<![\w/])(?:tests|benchmarks|csrc|\.github)/[\w./-]*\w", PAGE))
    bare = {f"tests/{name}" for name in re.findall(r"`(test_\w+\.py)`", PAGE)}
    assert len(named | bare) > 15
    assert [name for name in sorted(named | bare) if not os.path.exists(ROOT / name)] == []


def test_every_figure_has_a_command():
    """Rows of the tables of figures: the figure, and the command that renews it."""
    rows = re.findall(r"^\| (.*) \| `(.*)` \|$", PAGE.split("## The right gradients")[1], re.M)
    assert len(rows) > 10
    for figure, command in rows:
        assert re.match(r"make |python |unshare |\.ci/", command), figure
    assert "@" not in PAGE
