"""Where public names are used: pages whose blocks of Python have them, and the scripts of examples/.

Found in the code itself when the site is built, so that no list of links can grow old.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ["howto", "tutorials", "traps", ""]  # of docs/, the nearest to a task first
MOST_PAGES, MOST_EXAMPLES = 6, 4
BLOCKS = {
    "python": re.compile(r"^```python\n(.*?)^```$", re.S | re.M),
    "c": re.compile(r"^```(?:c|cython)\n(.*?)^```$", re.S | re.M),
}
INCLUDED = re.compile(r"^```\{literalinclude\} (\S+)$", re.M)


@dataclass(frozen=True)
class Place:
    """A page or a script: its kind, its name for a link, and its code."""

    kind: str  # "doc" or "example"
    name: str
    code: str

    @property
    def order(self):
        return len(FOLDERS) if self.kind == "example" else FOLDERS.index(self.name.rpartition("/")[0])

    @property
    def link(self):
        return f":doc:`/{self.name}`" if self.kind == "doc" else f":ref:`{self.name}.py <example-{self.name}>`"


def pages(docs, language):
    """All pages with code in a language, "python" or "c"."""
    names = {path.relative_to(docs).with_suffix("").as_posix(): path for path in docs.rglob("*.md")}
    found = [Place("doc", name, code_of(path, language)) for name, path in names.items()]
    return [place for place in found if place.code]


def places(docs):
    """All pages with blocks of Python, and all examples."""
    scripts = [Place("example", p.stem, p.read_text("utf-8")) for p in (docs.parent / "examples").glob("*.py")]
    return pages(docs, "python") + scripts


def code_of(page, language):
    text = page.read_text("utf-8")
    files = INCLUDED.findall(text) if language == "c" else []
    return "\n".join(BLOCKS[language].findall(text) + [(page.parent / name).read_text("utf-8") for name in files])


def pattern(name):
    """How code writes a public name. A method of RNN is one of a variable whose name begins with "rnn"; a function of C
    may be that of the other type."""
    module, _, rest = name.partition(".")
    if not rest:
        return re.compile(rf"\b{re.sub('_f(32|64)$', '_f(?:32|64)', name)}\b")
    if rest.startswith("RNN."):
        return re.compile(rf"\brnn\w*\.{rest.removeprefix('RNN.')}\b|\bbptt\.{re.escape(rest)}\b")
    if module == "bptt" and rest.startswith("torch."):
        member = rest.removeprefix("torch.")
        return re.compile(rf"\bbptt\.torch\.{member}\b|from bptt\.torch import [\w, ]*\b{member}\b")
    return re.compile(rf"\b{re.escape(name)}\b(?!\.\w)")


def uses(name, all_places):
    """The places that use a name: by folder, then those that use it most."""
    counts = {place: len(pattern(name).findall(place.code)) for place in all_places}
    return sorted((p for p in counts if counts[p]), key=lambda place: (place.order, -counts[place], place.name))


def links(name, all_places):
    """The first of them as links."""
    found = uses(name, all_places)
    pages = [place for place in found if place.kind == "doc"][:MOST_PAGES]
    scripts = [place for place in found if place.kind == "example"][:MOST_EXAMPLES]
    return [place.link for place in (*pages, *scripts)]


def scripts_page(docs):
    """The lines of the page that shows the scripts whole: a heading, what the script says it does, its code."""
    for path in sorted((docs.parent / "examples").glob("*.py")):
        about = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        yield from (f".. _example-{path.stem}:", "", path.name, "-" * len(path.name), "")
        yield from (re.sub(r"([\\*`|])", r"\\\1", about.partition(":")[0]) + ".", "")
        yield from (".. raw:: html", "", "   <details><summary>The script</summary>", "")
        yield from (f".. literalinclude:: {Path('..') / 'examples' / path.name}", "   :language: python", "")
        yield from (".. raw:: html", "", "   </details>", "")
