"""Makes __init__.pxd, which `cimport bptt` reads, from the two public headers; setup.py writes it.

The headers' text stands in the file, so that a module that cimports needs neither an include path nor a link step.
"""

import re
import textwrap
from pathlib import Path

INCLUDE = Path(__file__).resolve().parents[1] / "include"

PXD = '''\
# What `cimport bptt` gives: everything of bptt.h by the names it has there, made from bptt.h and bptt_capsule.h.
# A module that cimports this needs no include path and links nothing:
#
#     from bptt cimport bptt_import, bptt_spec, bptt_forward_f32
#     bptt_import()    # once, at the top of the module: an ImportError if the bptt that is installed is too old
#
# A module that links libbptt.a defines the macro BPTT_LINKED.

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint64_t

cdef extern from *:
    r"""
{code}
    """
    int bptt_import() except -1

cdef extern from * nogil:
{declarations}
'''


def code(name):
    """A header's text without its comments, and without the include of the other."""
    text = re.sub(r"/\*.*?\*/", "", (INCLUDE / name).read_text(), flags=re.S)
    lines = (line.rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and line != '#include "bptt.h"')


def members(kind, body):
    """The members of a struct or enum, one per line."""
    for member in body.split(";" if kind == "struct" else ","):
        if member.strip():
            yield re.sub(r"(\(\*\w+\)\(.*\))", r"\1 noexcept nogil", f"    {member.strip()}")


def declarations(text):
    """What a header declares, in Cython's words: C without semicolons, members indented."""
    declaration = r"typedef struct (\w+) \w+;|typedef (enum|struct) (\w+) \{(.*?)\} \w+;|BPTT_API (.*?);"
    for opaque, kind, name, body, function in re.findall(declaration, text, re.S):
        if opaque:
            yield f"ctypedef struct {opaque}"
        elif kind:
            yield f"ctypedef {kind} {name}:"
            yield from members(kind, body)
        else:
            yield function.replace("(void)", "()").replace("\n" + " " * len("BPTT_API "), "\n")


def pxd():
    header = code("bptt.h")
    both = header + "\n" + code("bptt_capsule.h")
    return PXD.format(code=both, declarations=textwrap.indent("\n".join(declarations(header)), "    "))
