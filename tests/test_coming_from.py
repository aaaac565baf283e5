"""The pages for users of other libraries: code of both sides, row by row, that does the same.

Blocks of ```py are the other library's, those of ```python are bptt's, which test_docs.py runs on every page.
"""

import re
from pathlib import Path

import numpy as np
import pytest

import bptt

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page.stem for page in DOCS.glob("coming-from-*.md"))


def page(name):
    """(what comes before the table, [(title, the other side's code, ours)])"""
    before, table = (DOCS / f"{name}.md").read_text("utf-8").split("<table>")
    (setup,) = re.findall(r"^```python\n(.*?)^```$", before, re.S | re.M)
    rows = re.findall(
        r'<tr><td colspan="2"><b>(.*?)</b></td></tr>\n<tr><td>\n\n```py\n(.*?)^```\n\n</td><td>\n\n'
        r"```python\n(.*?)^```\n\n</td></tr>",
        table, re.S | re.M,
    )  # fmt: skip
    assert len(rows) == table.count("colspan")
    return setup, rows


def test_pages_are_found():
    assert PAGES == ["coming-from-keras", "coming-from-lightning", "coming-from-pytorch"]


@pytest.mark.parametrize("name", PAGES)
def test_the_other_side_is_python_that_fits_beside_ours(name):
    _, rows = page(name)
    assert len(rows) >= 8
    for title, theirs, ours in rows:
        compile(theirs, f"{name}: {title}", "exec")
        assert max(map(len, (theirs + ours).splitlines())) <= 46, title


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_in_the_index(name):
    index = (DOCS / "index.md").read_text("utf-8")
    assert f"]({name}.md)" in index
    assert re.search(rf"^{name}$", index, re.M)


def parameters(model):
    return bptt.convert.from_torch(model.lstm, model.head).params


def compare_words(torch, theirs, ours, title):
    """The rows on integers, whose networks begin with torch's parameters; the number of comparisons."""
    words, unit_vectors = ours["words"], torch.nn.Embedding.from_pretrained(torch.eye(50))
    table = unit_vectors if words.one_hot else theirs["table"]
    converted = bptt.convert.from_torch(theirs["lstm"], theirs["head"], embedding=table)
    assert words.spec == converted.spec
    if words.one_hot:
        assert ours["next_symbol"].shape == theirs["next_symbol"].shape
        y, _ = converted.forward(ours["ids"])
        np.testing.assert_allclose(y, theirs["next_symbol"].detach().numpy(), atol=1e-5, err_msg=title)
        return 1
    if title == "Words: an embedding":
        words.params = converted.params
    np.testing.assert_allclose(words.params, converted.params, atol=1e-5, err_msg=title)
    return 1


def test_both_sides_of_pytorch_do_the_same(torch, tmp_path, monkeypatch):
    """From the same parameters each row ends with the same loss and the same parameters, in float32."""
    pytest.importorskip("bptt.torch")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    setup, rows = page("coming-from-pytorch")
    theirs, ours = {}, {}
    for names in (theirs, ours):
        exec(compile(setup, "setup", "exec"), names)
    compared = 0
    for number, (title, of_torch, of_bptt) in enumerate(rows):
        exec(compile(of_torch, title, "exec"), theirs)
        exec(compile(of_bptt, title, "exec"), ours)
        model, rnn = theirs["model"], ours["rnn"]
        if number == 0:
            rnn.params = parameters(model)
            assert rnn.spec == bptt.convert.from_torch(model.lstm, model.head).spec
        if "tokens" in theirs:
            compared += compare_words(torch, theirs, ours, title)
        if isinstance(ours.get("loss"), float):
            assert ours.pop("loss") == pytest.approx(theirs["loss"].item(), rel=2e-4), title
            compared += 1
        np.testing.assert_allclose(rnn.params, parameters(model), atol=2e-4, err_msg=title)
        for name in ("norm", "y", "outputs"):
            if name in ours and name in theirs:
                their_value = theirs.pop(name)
                their_value = torch.stack(their_value) if name == "outputs" else their_value
                our_value = np.asarray(ours.pop(name))
                if title != "One norm over several networks":
                    np.testing.assert_allclose(our_value, their_value.detach().numpy(), atol=2e-3, err_msg=title)
                    compared += 1
    assert compared >= 13
