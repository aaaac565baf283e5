"""The site: `make docs`. Python pages are made from the docstrings, C pages from the headers' comments."""

import inspect
import re
import sys
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

import bptt

DOCS = Path(__file__).parent
HEADERS = DOCS.parent / "src" / "bptt" / "include"
sys.path.insert(0, str(DOCS / "_sphinx"))

import header  # noqa: E402
import plain_text  # noqa: E402

project = "bptt"
version = release = bptt.__version__
copyright = "bptt's authors, MIT license"
html_theme = "furo"
html_title = f"bptt {release}"
html_show_sphinx = html_copy_source = False
exclude_patterns = ["_sphinx"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3

smartquotes = add_function_parentheses = False
autodoc_typehints = "none"  # the docstrings say types, and shapes
autodoc_member_order = "bysource"
autodoc_mock_imports = ["torch"]
python_maximum_signature_line_length = 100
nitpicky = True
nitpick_ignore = [("c:identifier", name) for name in ("int32_t", "int64_t", "size_t", "uint8_t", "uint64_t")]

# what docstrings may call by bptt.RNN.windows or RNN.windows
LISTED = re.findall(r"^ *\.\. auto(?!module)\w+:: bptt\.([\w.]+)", (DOCS / "api" / "python.rst").read_text(), re.M)
PYTHON_LINKS = {f"bptt.{name}": f":py:obj:`bptt.{name}`" for name in LISTED}
PYTHON_LINKS |= {name: f":py:obj:`{name} <bptt.{name}>`" for name in LISTED if "." in name}


def docstring_to_rst(app, what, name, obj, options, lines):
    lines[:] = plain_text.from_docstring(inspect.cleandoc("\n".join(lines)), PYTHON_LINKS)


class Header(SphinxDirective):
    """`.. c-header:: bptt.h`: what a header declares, in its order."""

    required_arguments = 1

    def run(self):
        texts = {path.name: path.read_text() for path in sorted(HEADERS.glob("*.h"))}
        self.env.note_dependency(HEADERS / self.arguments[0])
        lines = header.from_header(texts[self.arguments[0]], header.links(*texts.values()))
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def setup(app):
    app.connect("autodoc-process-docstring", docstring_to_rst)
    app.add_directive("c-header", Header)
