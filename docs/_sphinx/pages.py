"""Checks of built pages: formulas that a browser can read, and nothing that it would fetch from another host."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

FORMULA = re.compile(r"<math\b.*?</math>", re.S)
FETCHES = {"src", "srcset", "poster", "data", "action"}  # attributes; href only of a link, not of an anchor
IN_STYLES = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^"')\s]*""")
CODE = {"pre", "code", "script", "style"}


def faults(folder):
    """["page: what is wrong"] of all pages and style sheets below a folder."""
    found = []
    for path in sorted(Path(folder).rglob("*")):
        check = {".html": page_faults, ".css": style_faults}.get(path.suffix)
        if check:
            found += [f"{path.relative_to(folder).as_posix()}: {fault}" for fault in check(path.read_text("utf-8"))]
    return found


def page_faults(html):
    page = Page()
    page.feed(html)
    return [*page.faults, *formula_faults(html), *style_faults(" ".join(page.styles))]


def formula_faults(html):
    """Formulas that are no XML, or hold what was not converted."""
    if html.count("<math") != len(FORMULA.findall(html)):
        yield "a formula without an end"
    for text in FORMULA.findall(html):
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            yield f"{error}: {text}"
            continue
        words = "".join(root.itertext())
        if not words.strip() or re.search(r"[\\$]|&\w", words) or "merror" in text:
            yield f"a formula that was not converted: {words!r}"


def style_faults(css):
    return [f"fetches {found}" for found in IN_STYLES.findall(css)]


class Page(HTMLParser):
    """What a page fetches from other hosts, and formulas that stayed text."""

    def __init__(self):
        super().__init__()
        self.faults, self.styles, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag in CODE:
            self.open.append(tag)
        for name, value in attributes:
            if name == "style":
                self.styles.append(value or "")
            fetched = name in FETCHES or (name == "href" and tag in ("link", "image", "use", "base"))
            if fetched and re.match(r"\s*(https?:)?//", value or ""):
                self.faults.append(f"fetches {value}")

    def handle_endtag(self, tag):
        if tag in self.open:
            self.open.remove(tag)

    def handle_data(self, text):
        if not self.open and re.search(r"\$(?=\S)[^$\n]*\\\w[^$\n]*\$|\\(frac|mathrm|text)\{", text):
            self.faults.append(f"a formula that stayed text: {text.strip()!r}")
        if "style" in self.open:
            self.styles.append(text)
