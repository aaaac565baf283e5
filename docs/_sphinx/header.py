"""A C header as reStructuredText: each comment, and the declarations that follow it up to the next blank line.

A comment may be that of several functions, and that of a member stands behind it.
"""

import re

from plain_text import from_comment, inline

BLOCK = re.compile(r"^(/\*.*?\*/)\n((?:[^\n]+\n)*)", re.M | re.S)
BANNER = re.compile(r"/\* -+ (.*?) -+ \*/")
DECLARATION = re.compile(
    r"typedef (?P<kind>enum|struct) (?P<name>\w+) \{(?P<body>.*?)\} \w+;"
    r"|(?:BPTT_API|static inline) (?P<function>[^;{]*\w\([^;{]*\))"
    r"|#define (?P<macro>\w+(?:\([^)]*\))?)",
    re.S,
)
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
    for kind, name, body, function, macro in DECLARATION.findall(code):
        if kind:
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


def from_header(text, links):
    """The lines of reStructuredText; banners become headings."""
    found = []
    for comment, code in blocks(text):
        if banner := BANNER.fullmatch(comment):
            title = banner[1][0].upper() + banner[1][1:]
            found += [title, "-" * len(title), ""]
            continue
        said = from_comment(comment, links)
        for kind, signatures, members in declarations(code):
            found += directive(kind, signatures, said)
            for of, names, comment in members:
                found += ["   " + line for line in directive(of, names, [inline(comment, links)])]
            said = []
        found += said
    return found


def directive(kind, signatures, lines):
    head = f".. c:{kind}:: "
    first, *others = signatures
    return [head + first, *(" " * len(head) + other for other in others), "", *("   " + line for line in lines), ""]
