"""What is wrong with a key of a job, in one line: where it is, what was found, what is accepted."""

from collections.abc import Mapping
from typing import Any

from models.loss_spec import LOSSES
from models.model_spec import ARCHITECTURES
from models.spec import Spec

UNION_TAGS = (*ARCHITECTURES, *LOSSES)
"""Places that pydantic adds for a union's member and that are no keys of the file."""


def told(fault: Mapping[str, Any], file: str, *, fields: Any) -> str:
    """One fault, as pydantic found it, in words.

    Args:
        fault: one of a validation error's.
        file: where the keys come from.
        fields: of the whole job, by name.
    """
    place = ".".join(str(part) for part in fault["loc"] if part not in UNION_TAGS)
    where = f"{file}: {place}" if place else file
    message = str(fault["msg"]).removeprefix("Value error, ")
    match fault["type"]:
        case "extra_forbidden":
            known = ", ".join(_fields_at(fault["loc"][:-1], fields))
            return f"{where}: unknown key, found {fault['input']!r}; accepted are {known}"
        case "missing":
            return f"{where}: required, not found"
        case "value_error" if not place or isinstance(fault["input"], Mapping | Spec):
            return f"{where}: {message}"
    return f"{where}: found {fault['input']!r}; {message[0].lower()}{message[1:]}"


def _fields_at(place: tuple[Any, ...], fields: Any) -> dict[str, Any]:
    """Keys that the table at a place of the job knows."""
    for part in place:
        if part in fields:
            annotation = fields[part].annotation
            fields = getattr(annotation, "model_fields", None) or _union_fields(annotation)
    found: dict[str, Any] = fields
    return found


def _union_fields(annotation: Any) -> dict[str, Any]:
    """Keys of all members of a union of specs."""
    members = getattr(annotation, "__args__", ())
    found = [getattr(member, "model_fields", {}) for member in members]
    return {key: field for fields in found for key, field in fields.items()}
