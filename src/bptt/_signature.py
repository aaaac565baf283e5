"""Functions that take the fields of a dataclass as keywords: their signature and docstring are made from its."""

import inspect
import re
from dataclasses import MISSING, fields

FIELDS = "{fields}"
"""The line of a docstring where the entries of the fields are put in."""


def field_docs(record) -> dict[str, tuple[str, str]]:
    """{field: (its type, its description)}, read from the Parameters section of a dataclass's docstring."""
    entries = re.findall(r"^(\w+) : (.*)\n((?:    .*\n?)*)", _parameters(record), re.M)
    return {name: (kind, inspect.cleandoc(text)) for name, kind, text in entries}


def takes_fields(record, documented=None):
    """A decorator for a function whose **keywords are fields of `record`.

    The docstring of `documented` (the function itself by default) has a line "{fields}" in its Parameters section.
    """

    def decorate(function):
        function.__signature__ = _with_fields(inspect.signature(function), record)
        document_fields(documented or function, record)
        return function

    return decorate


def document_fields(documented, record) -> None:
    """Put the entries of the record's fields into a docstring, in place of its line "{fields}"."""
    if documented.__doc__:  # not with python -OO
        documented.__doc__ = inspect.cleandoc(documented.__doc__).replace(FIELDS, _parameters(record))


def _with_fields(signature, record):
    """The signature with a keyword for each field that is not there yet, in place of **keywords."""
    mine = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    keywords = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=field.type,
        )
        for field in fields(record)
        if field.name not in signature.parameters
    ]
    split = next((i for i, p in enumerate(mine) if p.kind is p.KEYWORD_ONLY), len(mine))
    return signature.replace(parameters=[*mine[:split], *keywords, *mine[split:]])


def _parameters(record):
    """The entries of the Parameters section of a docstring."""
    text = inspect.cleandoc(record.__doc__ or "")
    section = re.search(r"^Parameters\n-+\n(.*?)(?=\n\n\w[^\n]*\n---|\Z)", text, re.M | re.S)
    return section[1] if section else ""
