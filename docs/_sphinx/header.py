"""A C header as reStructuredText: each comment, and the declarations that follow it up to the next blank line.

One comment may document several functions; the comment of a member follows it. Text flows in paragraphs. Indented lines
of a comment are entries, a name and its description in a column of its own; they become definition lists. Comments have
no other markup: characters that reStructuredText would take as markup are escaped.

Extractors that are built on a compiler (hawkmoth, doxygen) want a comment of their own form for every declaration: of a
function's _f32 and _f64 forms they would show one.
"""

import itertools
import re
import textwrap

BLOCK = re.compile(r"^(/\*.*?\*/)\n((?:[^\n]+\n)*)", re.M | re.S)
BANNER = re.compile(r"/\* -+ (.*?) -+ \*/")
DECLARATION = re.compile(
    r"typedef (?P<kind>enum|struct) (?P<name>\w+) \{(?P<body>.*?)\} \w+;"
    r"|typedef struct (?P<opaque>\w+) \w+;"
    r"|(?:BPTT_API|static inline) (?P<function>[^;{]*\w\([^;{]*\))"
    r"|#define (?P<macro>\w+(?:\([^)]*\))?)",
    re.S,
)
ENTRY = re.compile(r"(\S.*?)  +(\S.*)")
WORD = re.compile(r"`([^`]+)`|(\w+(?:\.\w+)*)|([\\*`|])")
LIST_MARK = re.compile(r"[-+] |\(?\w+[.)] ")
MEMBERS = {  # type, names, comment
    "enum": ("enumerator", re.compile(r"()(\w+ = \d+),?(?:\s*/\*(.*?)\*/)?", re.S)),
    "struct": ("member", re.compile(r"(\w[\w ]*? \**)([^;/]+);(?:\s*/\*(.*?)\*/)?", re.S)),
}


def blocks(text):
    """(comment, code below it), in order; below the comment at the top is the include guard, which says nothing."""
    (first, _), *others = BLOCK.findall(re.sub(r"/\* clang-format \w+ \*/\n", "", text))
    return [(first, ""), *others]


def declarations(code):
    """(kind, signatures, [kind, signatures and comment of each member]); functions and macros of a block are one."""
    together = {"function": [], "macro": []}
    for kind, name, body, opaque, function, macro in DECLARATION.findall(code):
        if opaque:
            yield "struct", [opaque], []
        elif kind:
            of, pattern = MEMBERS[kind]
            members = [(of, [type + n for n in names.split(", ")], said) for type, names, said in pattern.findall(body)]
            yield kind, [name], members
        else:
            together["function" if function else "macro"].append(" ".join((function or macro).split()))
    for kind, signatures in together.items():
        if signatures:
            yield kind, signatures, []


def name_of(signature):
    return re.search(r"(\w+)(?:\)?\(.*\)|\[.*\]| = \d+)?$", signature)[1]


def links(*texts):
    """{name: reference to it} of all that headers declare; a member is struct.member."""
    found = {}
    for text in texts:
        for _, code in blocks(text):
            for kind, signatures, members in declarations(code):
                role = kind.replace("function", "func")
                found |= {name_of(s): f":c:{role}:`{name_of(s)}`" for s in signatures}
                for of, names, _ in members:
                    scope = "" if of == "enumerator" else f"{signatures[0]}."
                    found |= {scope + name_of(n): f":c:{of}:`{scope}{name_of(n)}`" for n in names}
    return found


def from_header(text, links, uses=lambda name: []):
    """The lines of reStructuredText; banners become headings. `uses` gives links to pages that use a function."""
    found = []
    for comment, code in blocks(text):
        if banner := BANNER.fullmatch(comment):
            title = banner[1][0].upper() + banner[1][1:]
            found += [title, "-" * len(title), ""]
            continue
        said = from_comment(comment, links)
        for kind, signatures, members in declarations(code):
            used = (
                list(dict.fromkeys(link for s in signatures for link in uses(name_of(s)))) if kind == "function" else []
            )
            found += directive(kind, signatures, said + ["", f"Used in {' · '.join(used)}."] * bool(used))
            for of, names, comment in members:
                found += ["   " + line for line in directive(of, names, [inline(comment, links)])]
            said = []
        found += said
    return found


def used_in(signatures, uses):
    links = dict.fromkeys(link for signature in signatures for link in uses(name_of(signature)))
    return ["", f"Used in {' · '.join(links)}."] if links else []


def directive(kind, signatures, lines):
    head = f".. c:{kind}:: "
    first, *others = signatures
    return [head + first, *(" " * len(head) + other for other in others), "", *("   " + line for line in lines), ""]


def from_comment(comment, links):
    """A comment with its marks as lines of reStructuredText."""
    lines = [re.sub(r"^(/\*| \*/?) ?|\s*\*/$", "", line).rstrip() for line in comment.split("\n")]
    found = []
    for indented, group in itertools.groupby(lines, lambda line: line[0].isspace() if line else None):
        if indented:
            for names, text in entries(textwrap.dedent("\n".join(group)).split("\n")):
                found += definition(names, text, links)
        elif indented is False:
            found += [inline(" ".join(group), links), ""]
    return found


def entries(lines):
    """[names, description] of each entry; lines that begin no entry continue the one before."""
    found = []
    for line in lines:
        if entry := ENTRY.fullmatch(line):
            found.append([*entry.groups()])
        else:
            found[-1][1] += " " + line
    return found


def definition(names, text, links):
    names = "``, ``".join(re.split(r", (?=[\w{}]+(?:,|$))", names))
    return [f"``{names}``", f"   {inline(text, links)}", ""]


def inline(text, links):
    """One paragraph. Words that `links` has become these links, and `backquoted` text becomes literal."""

    def marked(found):
        literal, word, special = found.groups()
        if special:
            return "\\" + special
        if (literal or word) in links:
            return links[literal or word] + "\\ " * text.startswith("(", found.end())
        return f"``{literal}``" if literal else word.replace("_", r"\_")

    text = " ".join(text.split())
    return ("\\" if LIST_MARK.match(text) else "") + WORD.sub(marked, text)
