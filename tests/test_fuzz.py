"""What the fuzz targets (tests/fuzz) reach."""

import re
from pathlib import Path

import bptt

FUZZ = Path(__file__).parent / "fuzz"


def test_the_core_target_calls_every_function():
    declared = re.findall(r"\*bptt_functions->(\w+)", Path(bptt.get_include(), "bptt_capsule.h").read_text())
    names = {name.removesuffix("_f32").removesuffix("_f64") for name in declared}
    assert len(names) > 30
    calls = "".join(path.read_text() for path in FUZZ.glob("*.[ch]"))
    missing = {name for name in names if not re.search(rf"\bbptt_{name}\b", calls)}
    assert missing == {"team_free"}  # the team stays
