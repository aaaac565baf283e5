"""The changes that tests/mutants.py makes, and what it and branches.py read."""

import random
import re
import tomllib
from pathlib import Path

import mutant_changes
import pytest

CSRC = Path(__file__).parents[1] / "csrc"  # not there when the tests run beside an installed package

SOURCE = """
#include <stdint.h> /* a < b */
#define ROW(i) \\
    (row + (i))
enum { MOST = 8 };
static int sum(const int *a, int n) {
    int s = 0;
    for (int i = 0; i < n; i++) s += a[i] * 2;
    if (s > 1.5f && n) return s; // a + b
    clear(a, n);
    "s + 1";
    return first(a + 1, n) == 0 ? -n : n - 1;
}
"""


def mutated(operator):
    """The line that each change of this kind makes, without blanks in front."""
    found = [change for changes in mutant_changes.changes_of(SOURCE).values() for change in changes]
    lines = []
    for change in found:
        if change.operator == operator:
            text = SOURCE[: change.begin] + change.new + SOURCE[change.end :]
            lines.append(text.splitlines()[change.line - 1].strip())
    return lines


CHANGES = {
    "relation": [
        "for (int i = 0; i <= n; i++) s += a[i] * 2;",
        "if (s >= 1.5f && n) return s; // a + b",
        "return first(a + 1, n) != 0 ? -n : n - 1;",
    ],
    "arithmetic": [
        "(row - (i))",
        "for (int i = 0; i < n; i--) s += a[i] * 2;",
        "for (int i = 0; i < n; i++) s -= a[i] * 2;",
        "for (int i = 0; i < n; i++) s += a[i] / 2;",
        "return first(a - 1, n) == 0 ? -n : n - 1;",
        "return first(a + 1, n) == 0 ? -n : n + 1;",
    ],
    "logic": ["if (s > 1.5f || n) return s; // a + b"],
    "negated condition": ["if (!(s > 1.5f && n)) return s; // a + b"],
    "loop bound": [
        "for (int i = 0; i < n - 1; i++) s += a[i] * 2;",
        "for (int i = 0; i < n + 1; i++) s += a[i] * 2;",
    ],
    "dropped statement": [
        "for (int i = 0; i < n; i++) ;",
        "if (s > 1.5f && n) ; // a + b",
        ";",
    ],
    "swapped arguments": ["clear(n, a);", "return first(n, a + 1) == 0 ? -n : n - 1;"],
}


@pytest.mark.parametrize("operator", CHANGES)
def test_changes(operator):
    assert sorted(mutated(operator)) == sorted(CHANGES[operator])


def test_constants():
    assert {"enum { MOST = 9 };", "enum { MOST = 7 };", "if (s > (2.5f) && n) return s; // a + b"} <= {
        *mutated("constant")
    }
    assert "int s = (-1);" in mutated("constant")


@pytest.mark.skipif(not CSRC.is_dir(), reason="needs csrc/")
def test_every_file_with_code_has_changes():
    for path in CSRC.rglob("*.[ch]"):
        source = path.read_text()
        drawn = mutant_changes.draw(source, random.Random(1))
        assert all(change.new != source[change.begin : change.end] for change in drawn)
        assert drawn or not re.search(r"^\s+return ", source, re.M), path


def test_the_same_seed_draws_the_same():
    drawn = [mutant_changes.draw(SOURCE, random.Random(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.skipif(not CSRC.is_dir(), reason="needs csrc/")
@pytest.mark.parametrize(
    "name, keys", [("unreached", {"condition", "never", "reason"}), ("equivalent", {"line", "new", "reason"})]
)
def test_lists_name_lines_of_the_sources_with_reasons(name, keys):
    listed = tomllib.loads(Path(__file__).with_name(f"{name}.toml").read_text())
    for file, entries in listed.items():
        source = " ".join((CSRC.parent / file).read_text().split())
        for entry in entries:
            assert {*entry} == keys
            assert entry["reason"]
            if "line" in entry:
                assert " ".join(entry["line"].split()) in source, entry
