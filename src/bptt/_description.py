"""The description of a network as JSON, as model files and the metadata of ONNX models have it.

It comes from other people's files: it is read strictly, and nothing is allocated for it.
"""

import json
import reprlib

from . import _core
from ._signature import field_names
from ._spec import DTYPES, Spec


def object_from_json(text: str) -> dict[str, object]:
    """The JSON object in a text: no key is there twice, no number is NaN or Inf. ValueError for anything else."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"its JSON must be an object, got {reprlib.repr(value)}")
    return value


def spec_of(fields: dict[str, object]) -> Spec:
    """The Spec with these fields, of which those with a default may be missing.

    ValueError unless each value is just what the Spec then has (not 1 for true), and the core takes such a network.
    """
    unknown = fields.keys() - field_names(Spec)
    if unknown:
        raise ValueError(f"its description has unknown fields: {reprlib.repr(sorted(unknown))}")
    if fields.get("dtype", DTYPES[0]) not in DTYPES:  # NumPy would take more names, and lists
        raise ValueError(f"dtype must be {' or '.join(DTYPES)}, got {reprlib.repr(fields['dtype'])}")
    try:
        spec = Spec(**fields)  # type: ignore[arg-type]
        next(_core.tensors_of(spec))
    except (TypeError, ValueError, MemoryError) as error:
        raise ValueError(f"its description does not fit: {error}") from None
    for name, value in fields.items():
        checked = getattr(spec, name)
        if value != checked or isinstance(value, bool) != isinstance(checked, bool):
            raise ValueError(f"its description has {name} = {reprlib.repr(value)}, which would be {checked!r}")
    return spec


def _unique(pairs):
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError(f"its JSON has a key twice: {reprlib.repr([key for key, _ in pairs])}")
    return value


def _refuse(constant):
    raise ValueError(f"its JSON has {constant}")
