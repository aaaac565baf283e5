"""The site: `make docs`. Python pages are made from docstrings by numpydoc, C pages from the headers' comments."""

import sys
from pathlib import Path

import latex2mathml.converter
from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import bptt

DOCS = Path(__file__).parent
HEADERS = DOCS.parent / "src" / "bptt" / "include"
sys.path.insert(0, str(DOCS / "_sphinx"))

import header  # noqa: E402
import pages  # noqa: E402
import uses  # noqa: E402

project = "bptt"
version = release = bptt.__version__
copyright = "bptt's authors, MIT license"
html_theme = "furo"
html_title = f"bptt {release}"
html_show_sphinx = html_copy_source = False
html_math_renderer = "mathml"
html_static_path, html_css_files = ["_static"], ["site.css"]
exclude_patterns = ["_sphinx"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3

smartquotes = add_function_parentheses = False
default_role = "autolink"  # `name` in a docstring: a link if it is a name of the package, otherwise emphasis
autodoc_typehints = "none"  # the docstrings say types, and shapes
autodoc_member_order = "bysource"
autodoc_mock_imports = ["torch", "onnx", "google"]  # google.protobuf comes with onnx
numpydoc_show_class_members = False  # docs/api/python.rst lists them
python_maximum_signature_line_length = 100
PLACES, C_PLACES = uses.places(DOCS), uses.pages(DOCS, "c")
nitpicky = True
nitpick_ignore = [("c:identifier", name) for name in ("int8_t", "int32_t", "int64_t", "size_t", "uint8_t", "uint64_t")]


class Header(SphinxDirective):
    """`.. c-header:: bptt.h`: the declarations of a header, in their order."""

    required_arguments = 1

    def run(self):
        texts = {path.name: path.read_text() for path in sorted(HEADERS.glob("*.h"))}
        self.env.note_dependency(HEADERS / self.arguments[0])
        links = header.links(*texts.values())
        lines = header.from_header(texts[self.arguments[0]], links, lambda name: uses.links(name, C_PLACES))
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


class Scripts(SphinxDirective):
    """`.. example-scripts::`: the scripts of examples/, whole."""

    def run(self):
        for path in (DOCS.parent / "examples").glob("*.py"):
            self.env.note_dependency(path)
        return self.parse_text_to_nodes("\n".join(uses.scripts_page(DOCS)), allow_section_headings=True)


def add_uses(app, what, name, obj, options, lines):
    """Links, below the entry of a function, method or class, to the pages and examples whose code uses it."""
    if what in ("function", "method", "class") and (links := uses.links(name, PLACES)):
        lines += ["", ".. rubric:: Used in", "", " · ".join(links), ""]


def formula(display):
    """A renderer of formulas as MathML, which browsers show without scripts or files from another host."""

    def visit(translator, node):
        mathml = latex2mathml.converter.convert(node.astext(), display=display)
        translator.body.append(f'<p class="formula">{mathml}</p>' if display == "block" else mathml)
        raise nodes.SkipNode

    return visit, None


def check_pages(app, error):
    """Warns of faults in the built pages; `make docs` takes warnings as errors."""
    if error is None:
        for fault in pages.faults(app.outdir):
            logging.getLogger(__name__).warning(fault)


def setup(app):
    app.connect("build-finished", check_pages)
    app.add_html_math_renderer("mathml", formula("inline"), formula("block"))
    app.connect("autodoc-process-docstring", add_uses, priority=900)  # after numpydoc
    app.add_directive("c-header", Header)
    app.add_directive("example-scripts", Scripts)
