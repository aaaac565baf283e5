"""Functions that take the fields of a dataclass as keywords: their signature and docstring are made from its."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import TypeVar

Function = TypeVar("Function", bound=Callable)

FIELDS = "{fields}"
"""The line of a docstring where the entries of the fields are put in."""


def field_names(record) -> set[str]:
    """The names of a dataclass's fields."""
    return {field.name for field in fields(record)}


def field_docs(record) -> dict[str, str]:
    """{field: "type: description"}, read from the Parameters section of a dataclass's docstring; {} with python -OO."""
    entries = re.findall(r"^(\w+) : (.*)\n((?:    .*\n?)*)", _parameters(record), re.M)
    return {name: f"{kind}: {inspect.cleandoc(text)}" for name, kind, text in entries}


def check_keywords(keywords, record, function) -> None:
    """The TypeError that Python raises for a keyword that is no argument of the function, which takes_fields made."""
    for name in keywords:
        if name not in field_names(record):
            import difflib  # an error may take its time, `import bptt` not

            near = difflib.get_close_matches(name, inspect.signature(function).parameters, 1)
            hint = f". Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{function.__name__}() got an unexpected keyword argument {name!r}{hint}")


def takes_fields(record: type) -> Callable[[Function], Function]:
    """A decorator for a function whose **keywords are fields of `record`: its signature lists them, and its docstring
    has their entries in place of the line "{fields}" of the Parameters section."""

    def decorate(function: Function) -> Function:
        vars(function)["__signature__"] = _with_fields(inspect.signature(function), record)
        document_fields(function, record)
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
