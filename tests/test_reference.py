"""Every public name is on a reference page of docs/api, and what its comment says arrives there whole."""

import ast
import inspect
import re
import textwrap
from itertools import pairwise
from pathlib import Path

import pytest

import bptt

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "api" / "python.rst").read_text()
LISTED = re.findall(r"^ *\.\. auto\w+:: (bptt[\w.]*)", PAGE, re.M)
BY_MEMBERS = re.findall(r"^\.\. autoclass:: bptt\.(\w+).*\n   :members:", PAGE, re.M)
SUBMODULES = ("convert", "init", "plot", "torch")
HEADERS = {path.name: path.read_text() for path in Path(bptt.get_include()).glob("*.h")}


@pytest.fixture
def header(monkeypatch):
    """The module of the site that turns C headers into reStructuredText; it needs no Sphinx."""
    monkeypatch.syspath_prepend(DOCS / "_sphinx")
    import header

    return header


def exported(module):
    """__all__ of a module that need not be imported."""
    path = Path(bptt.__file__).with_name(module)
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    names = re.search(r"^__all__ = (\[.*?\])", source, re.M | re.S)[1]
    return [f"bptt.{module}.{name}" for name in ast.literal_eval(names)]


def public(cls):
    return [name for name in dir(cls) if not name.startswith("_")]


def test_python_names_are_on_the_page():
    names = [f"bptt.{name}" for name in bptt.__all__]
    names += [n for m in SUBMODULES for n in exported(m)]
    names += [f"bptt.RNN.{name}" for name in public(bptt.RNN)]
    assert len(names) > 60
    assert sorted(set(names) - set(LISTED)) == []
    assert len(LISTED) == len(set(LISTED))


def test_members_that_the_page_takes_by_themselves_have_docstrings():
    assert "Adam" in BY_MEMBERS
    bare = {
        f"bptt.{cls}.{name}"
        for cls in BY_MEMBERS
        for name in public(getattr(bptt, cls))
        if isinstance(member := inspect.getattr_static(getattr(bptt, cls), name), property) or callable(member)
        if not member.__doc__
    }
    fields = [cls for name in BY_MEMBERS if "__annotations__" in vars(cls := getattr(bptt, name))]
    for cls in fields:
        body = ast.parse(inspect.getsource(cls)).body[0].body
        bare |= {
            a.target.id for a, b in pairwise([*body, None]) if isinstance(a, ast.AnnAssign) and type(b) is not ast.Expr
        }
    assert bptt.Window in fields
    assert bare == set()


def declared(rst):
    """What the directives of the C domain declare."""
    signatures = re.findall(r"^ *\.\. c:\w+:: (.+\n(?: {5,}\S.*\n)*)", rst, re.M)
    return {re.search(r"(\w+)(?:\)?\(.*\)|\[.*\]| = \d+)?$", line)[1] for s in signatures for line in s.splitlines()}


def test_c_names_are_on_the_page(header):
    page = (DOCS / "api" / "c.rst").read_text()
    for name, text in HEADERS.items():
        assert f".. c-header:: {name}\n" in page
        bare = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        wanted = {*re.findall(r"BPTT_API [^;(]*?(bptt_\w+)\(", bare), *re.findall(r"\} (\w+);", bare)}
        if name == "bptt.h":
            wanted |= {*re.findall(r"#define (\w+)", bare), *re.findall(r"\b(BPTT_\w+) = ", bare)} - {"BPTT_H"}
            assert len(wanted) > 70
        else:
            wanted |= {"bptt_import", "BPTT_ABI", "BPTT_CAPSULE", "BPTT_FUNCTIONS"}
        assert sorted(wanted - declared("\n".join(header.from_header(text, {})))) == []


def words(text):
    return " ".join(re.findall(r"\w+", re.sub(r":c:\w+:|\\", "", text)))


def test_comments_of_the_header_arrive_whole(header):
    links = header.links(*HEADERS.values())
    assert links["bptt_options.poll"] == ":c:member:`bptt_options.poll`"
    arrived = words("\n".join(header.from_header(HEADERS["bptt.h"], links))).lower()
    comments = re.findall(r"/\*.*?\*/", HEADERS["bptt.h"], re.S)
    assert len(comments) > 80
    assert [comment for comment in comments if words(comment).lower() not in arrived] == []


@pytest.mark.parametrize("name", [name for name in LISTED if not name.startswith("bptt.torch")])
def test_docstrings_arrive_whole(name):
    """numpydoc drops sections that it does not know, with a warning, which is an error here."""
    docscrape = pytest.importorskip("numpydoc.docscrape")
    found = bptt
    for part in name.split(".")[1:]:
        try:
            found = getattr(found, part)
        except ModuleNotFoundError as error:  # of torch or onnx
            pytest.skip(str(error))
    if doc := inspect.getdoc(found):
        assert sorted(words(str(docscrape.NumpyDocString(doc))).split()) == sorted(words(doc).split())


def test_comments_of_c_become_definition_lists_and_escapes(header):
    comment = """/* Takes *args* of `x_` (T,B), see bptt_mse.
     *   x        inputs of
     *            bptt_mse
     *   a, b     numbers
     *
     * - no list. */"""
    assert header.from_comment(
        textwrap.dedent(comment).replace("\n    ", "\n"), {"bptt_mse": ":c:func:`bptt_mse`"}
    ) == [
        r"Takes \*args\* of ``x_`` (T,B), see :c:func:`bptt_mse`.",
        "",
        "``x``",
        "   inputs of :c:func:`bptt_mse`",
        "",
        "``a``, ``b``",
        "   numbers",
        "",
        r"\- no list.",
        "",
    ]


def test_first_page_learns():
    names = {}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / "index.md").read_text(), re.S):
        exec(block, names)
    assert names["history"].loss[-1] < 0.1
