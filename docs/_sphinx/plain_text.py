"""The plain text of docstrings and of the headers' comments as reStructuredText.

Text flows in paragraphs. An entry is names and what is said of them, continued on indented lines; entries become
definition lists. Nothing else is markup: what reStructuredText would take as such is escaped.
"""

import itertools
import re
import textwrap

ENTRY = re.compile(r"([\w{}]+(?:, [\w{}]+)*) : (.+)")  # of a docstring
COLUMNS = re.compile(r"(\S.*?)  +(\S.*)")  # of a comment: what is said stands in a column of its own
WORD = re.compile(r"`([^`]+)`|(\w+(?:\.\w+)*)|([\\*`|])")
LIST_MARK = re.compile(r"[-+] |\(?\w+[.)] ")


def inline(text, links):
    """One paragraph. A word that `links` has becomes what it says there, what stands in `backquotes` literal."""

    def marked(found):
        literal, word, special = found.groups()
        if special:
            return "\\" + special
        if (literal or word) in links:
            return links[literal or word] + "\\ " * text.startswith("(", found.end())
        return f"``{literal}``" if literal else word.replace("_", r"\_")

    text = " ".join(text.split())
    return ("\\" if LIST_MARK.match(text) else "") + WORD.sub(marked, text)


def entries(lines, pattern):
    """[names, text, continuation] of each entry; an entry begins where a line that is not indented fits the pattern."""
    found = []
    for line in lines:
        if start := pattern.fullmatch(line):
            found.append([*start.groups(), ""])
        else:
            found[-1][2] += " " + line
    return found


def definition(names, text, links, kind=None):
    names = "``, ``".join(re.split(r", (?=[\w{}]+(?:,|$))", names))
    return [f"``{names}``" + (f" : {inline(kind, links)}" if kind else ""), f"   {inline(text, links)}", ""]


def from_docstring(text, links):
    """A docstring that inspect.cleandoc has cleaned, as lines of reStructuredText."""
    found, section = [], None
    for block in re.split(r"\n\n+", text.strip()):
        lines = block.split("\n")
        if len(lines) > 1 and set(lines[1]) == {"-"}:
            section, *lines = lines[0], *lines[2:]
            found += [f":{section}:", ""]
        elif not ENTRY.fullmatch(lines[0]):
            section = None
        made = _block(lines, links, typed=section in ("Parameters", "Returns"))
        found += [f"   {line}" if section else line for line in made]
    return found


def _block(lines, links, typed):
    if lines[0].startswith(">>> "):
        return [*lines, ""]
    if not ENTRY.fullmatch(lines[0]):
        return [inline(" ".join(lines), links), ""]
    found = []
    for names, first, more in entries(lines, ENTRY):
        found += definition(names, more, links, first) if typed and more else definition(names, first + more, links)
    return found


def from_comment(comment, links):
    """A comment of C, with its marks, as lines of reStructuredText. What is indented in it are entries."""
    lines = [re.sub(r"^(/\*| \*/?) ?|\s*\*/$", "", line).rstrip() for line in comment.split("\n")]
    found = []
    for indented, group in itertools.groupby(lines, lambda line: line[0].isspace() if line else None):
        if indented:
            for names, first, more in entries(textwrap.dedent("\n".join(group)).split("\n"), COLUMNS):
                found += definition(names, first + more, links)
        elif indented is False:
            found += [inline(" ".join(group), links), ""]
    return found
