"""Links from the reference to the pages and scripts that use a name: the targets do use it."""

import re
import sys
from pathlib import Path

import pytest

import bptt

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "_sphinx"))
import header  # noqa: E402
import uses  # noqa: E402

PLACES = uses.places(DOCS)
REFERENCE = (DOCS / "api" / "python.rst").read_text("utf-8")
NAMES = re.findall(r"^\.\. auto(?:class|function|method):: ([\w.]+)", REFERENCE, re.M)


def test_names_are_found_where_a_reader_expects_them():
    found = {name: [place.name for place in uses.uses(name, PLACES)] for name in NAMES}
    assert found["bptt.Constraints"] == ["tutorials/neuroscience", "perceptual_decision"]
    assert found["bptt.convert.to_c"][:2] == ["howto/plugin", "tutorials/firmware"]
    assert found["bptt.RNN.windows"][0] == "tutorials/truncate"
    assert {"howto/ppo", "recurrent_ppo"} <= set(found["bptt.torch.LSTM"])
    assert sum(map(bool, found.values())) > 40


@pytest.mark.parametrize("name", NAMES)
def test_the_target_of_a_link_uses_the_name(name):
    for link in uses.links(name, PLACES):
        page, script = re.fullmatch(r":doc:`/(.*)`|:ref:`.*<example-(\w+)>`", link).groups()
        text = (DOCS / f"{page}.md" if page else ROOT / "examples" / f"{script}.py").read_text("utf-8")
        assert re.search(rf"\b{name.rpartition('.')[2]}\b", text), link


C_PLACES = uses.pages(DOCS, "c")


def test_functions_of_c_are_found_in_either_type():
    found = {name: [place.name for place in uses.uses(name, C_PLACES)] for name in ("bptt_step_f64", "bptt_import")}
    assert found["bptt_step_f64"] == ["linking"]
    assert {"linking", "extensions"} <= set(found["bptt_import"])
    text = (Path(bptt.get_include()) / "bptt.h").read_text()
    lines = header.from_header(text, {}, lambda name: uses.links(name, C_PLACES))
    assert sum(line.strip().startswith("Used in :doc:") for line in lines) > 5


def test_a_name_that_is_part_of_another_is_not_found():
    place = uses.Place("doc", "page", "bptt.fitting()\nx.forward()\nbptt.init.dale_signs(3)\nbptt.RNN.load(path)\n")
    for name in ("bptt.fit", "bptt.RNN.forward", "bptt.init.dale", "bptt.RNN", "bptt.torch.RNN"):
        assert uses.uses(name, [place]) == []
    for name in ("bptt.RNN.load", "bptt.init.dale_signs"):
        assert uses.uses(name, [place]) == [place]


def test_every_script_is_on_the_page_of_examples():
    lines = list(uses.scripts_page(DOCS))
    for path in (ROOT / "examples").glob("*.py"):
        assert f".. _example-{path.stem}:" in lines
        assert f".. literalinclude:: ../examples/{path.name}" in lines
