"""Every page: blocks of Python in order, as a reader would type them, whole C programs by the shell lines it prints."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import test_link

import bptt

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text("utf-8") for page in [ROOT / "README.md", *DOCS.rglob("*.md")]
}
WITH_C = ["README.md", "docs/linking.md"]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.S | re.M)


def teaches(page):
    """Whether a page has to have blocks of Python."""
    folder, name = page.rpartition("/")[::2]
    if folder in ("docs/tutorials", "docs/traps", "docs/howto"):
        return name not in ("index.md", "slurm.md")  # its script is run by test_docs_howto.py
    return page in ("docs/derivation.md", "README.md")


@pytest.mark.parametrize("page", sorted(page for page in PAGES if teaches(page) or blocks(page, "python")))
def test_blocks_run(page, tmp_path, monkeypatch, request):
    found = blocks(page, "python")
    assert found
    monkeypatch.chdir(tmp_path)
    if find_spec("torch") and any(re.search(r"^import torch$", block, re.M) for block in found):
        request.getfixturevalue("torch")  # on one thread
    names = {}
    for block in found:
        needed = re.findall(r"^import (torch|onnx|matplotlib|gymnasium)$", block, re.M)
        if all(map(find_spec, needed)):
            exec(compile(block, page, "exec"), names)
    if rnn := names.get("rnn"):
        assert isinstance(rnn.params, np.ndarray)
        assert np.isfinite(rnn.params).all()


@pytest.mark.parametrize("folder", ["tutorials", "traps", "howto"])
def test_every_page_of_a_folder_is_in_its_index(folder):
    index = f"docs/{folder}/index.md"
    pages = {page.stem for page in (DOCS / folder).glob("*.md")} - {"index"}
    listed = re.search(r"```\{toctree\}\n:hidden:\n\n(.*?)```", PAGES[index], re.S)[1].split()
    assert sorted(listed) == sorted(pages)
    assert set(re.findall(r"^- \[.*?\]\((\S+)\.md\)", PAGES[index], re.M)) == pages


def prose(page):
    return re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.S | re.M)


def anchors(page):
    """What GitHub and Sphinx make of its headings."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_somewhere(page):
    """Those to files of docs/, with their anchors; the rest of the tree need not be there."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", prose(page)):
        path = Path(os.path.normpath((ROOT / page).parent / target)) if target else ROOT / page
        if path.is_relative_to(DOCS):
            assert path.exists(), target
        if anchor and "." not in anchor:  # bptt.RNN and the like are Sphinx's own
            assert anchor in anchors(path.relative_to(ROOT).as_posix()), f"{target}#{anchor}"


def test_every_word_of_the_glossary_is_linked_where_it_is_used():
    linked = {word for page in PAGES for word in re.findall(r"\]\(\S*glossary\.md#([\w-]+)\)", prose(page))}
    words = {re.sub(r" ", "-", title.lower()) for title in re.findall(r"^### (.*)$", PAGES["docs/glossary.md"], re.M)}
    assert len(words) > 20
    assert words == linked


def test_one_page_speaks_of_what_a_release_will_bring():
    """All else installs from a clone: a package index has another package of that name."""
    sources = {str(path): path.read_text("utf-8") for path in Path(bptt.__file__).parent.rglob("*.py")}
    found = [name for name, text in (PAGES | sources).items() if re.search(r"pip install \W*bptt\b", text)]
    assert found == ["docs/install.md"]


WIDTH = 88  # columns of code that the site shows whole on a laptop


def code_lines():
    """(where, line) of all code: fenced blocks with a language, and examples in docstrings."""
    for page in PAGES:
        for block in re.findall(r"^ *```\{?\w+\}?[^\n]*\n(.*?)^ *```$", PAGES[page], re.S | re.M):
            yield from ((page, line) for line in block.splitlines())
    for file in Path(bptt.__file__).parent.rglob("*.p[yx]*"):
        if file.suffix in (".py", ".pyx", ".pxi"):
            examples = re.findall(r"^ *((?:>>>|\.\.\.) .*)$", file.read_text("utf-8"), re.M)
            yield from ((file.name, line) for line in examples)


def test_code_fits_into_the_width_of_the_site():
    lines = list(code_lines())
    assert {"README.md", "docs/index.md", "docs/linking.md", "init.py"} <= {where for where, _ in lines}
    assert not [(where, line) for where, line in lines if len(line) > WIDTH]


sys.path.insert(0, str(DOCS / "_sphinx"))
import header  # noqa: E402
import pages  # noqa: E402


def test_types_of_the_headers_have_entries():
    texts = [path.read_text() for path in Path(bptt.get_include()).glob("*.h")]
    types = {name for text in texts for name in re.findall(r"^(?:\}|typedef struct \w+) (\w+);", text, re.M)}
    assert {"bptt_spec", "bptt_team", "bptt_status"} <= types <= header.links(*texts).keys()


WHOLE = """<link rel="stylesheet" href="_static/a.css"><a href="https://example.org">far</a> <pre>$\\frac{1}{2}$</pre>
<script src="_static/a.js"></script> <math xmlns="http://www.w3.org/1998/Math/MathML"><mi>x</mi></math>
costs $2 or $3"""


@pytest.mark.parametrize("html, fault", [
    ('<script src="https://host/a.js"></script>', "fetches https://host/a.js"),
    ('<img alt="" src="//host/a.png">', "fetches //host/a.png"),
    ('<link rel="preconnect" href="https://host">', "fetches https://host"),
    ('<p style="background: url(https://host/a.png)">', "fetches url(https://host/a.png"),
    ("<style>@import 'http://host/a.css';</style>", "fetches @import 'http://host/a.css"),
    ("<math><mi>x</math>", "mismatched tag"),
    ("<math><mi>x</mi>", "without an end"),
    ("<math><mi>\\Vert</mi></math>", "not converted"),
    ("<math><mi></mi></math>", "not converted"),
    ("so $\\sqrt T$ steps", "stayed text"),
])  # fmt: skip
def test_a_page_of_the_site_that_asks_a_host_or_breaks_a_formula_is_found(tmp_path, html, fault):
    folder = tmp_path / "traps"
    folder.mkdir()
    (tmp_path / "index.html").write_text(WHOLE)
    assert pages.faults(tmp_path) == []
    (folder / "page.html").write_text(WHOLE + html)
    (found,) = pages.faults(tmp_path)
    assert found.startswith("traps/page.html: ")
    assert fault in found


def programs(page):
    """[(name, source, [shell lines with that name])]: blocks of C with a main, whose first comment names them."""
    sources = {re.search(r"/\* (\w+\.c): ", block)[1]: block for block in blocks(page, "c") if "int main(" in block}
    return [(name, source, [sh for sh in blocks(page, "sh") if name in sh]) for name, source in sources.items()]


@pytest.mark.skipif(os.name == "nt" or not shutil.which("cc"), reason="needs a POSIX C compiler")
@pytest.mark.skipif(bool(test_link.SANITIZE), reason="the lines do not name the archive's sanitizers")
@pytest.mark.parametrize("page", WITH_C)
def test_programs_train_by_the_lines_that_the_page_prints(page, tmp_path):
    python = tmp_path / "bin" / "python"  # the one that runs this
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    environment = {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": test_link.path()}
    ((name, source, shells),) = programs(page)
    assert shells
    for number, lines in enumerate(shells):
        if "pkg-config" in lines and not shutil.which("pkg-config"):
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_text(source)
        printed = test_link.output(["sh", "-e", "-c", lines], cwd=folder, **environment)
        losses = [float(loss) for loss in re.findall(r"loss (\S+)", printed)]
        assert len(losses) > 2
        assert losses[-1] < 0.2 * losses[0]


def test_programs_are_found():
    """That of firmware.md is run by test_to_c.py."""
    assert {page for page in PAGES if programs(page)} == {*WITH_C, "docs/tutorials/firmware.md"}


@pytest.mark.skipif(os.name == "nt" or not shutil.which("cc"), reason="needs a POSIX C compiler")
@pytest.mark.parametrize("page", WITH_C)
def test_programs_compile_without_a_warning(page, tmp_path):
    ((name, source, _),) = programs(page)
    (tmp_path / name).write_text(source)
    command = ["cc", "-std=c99", *test_link.STRICT, f"-I{test_link.INCLUDE}", "-fsyntax-only", tmp_path / name]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
