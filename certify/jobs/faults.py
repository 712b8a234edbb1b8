"""What is wrong with a key of a job, in one line: where it is, what was found, what is accepted."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from models.spec import Spec

KINDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
    "bool_type": "true or false",
}
"""What is accepted, by pydantic's name of the fault."""
WORDS = "Input should be "
"""Of pydantic, before what is accepted."""


@dataclass(frozen=True)
class _Place:
    """A place of a job file.

    Attributes:
        file: where the keys come from.
        keys: those that lead there.
        members: specs of the table there, several where a key of it chooses one; none of a value.
        default: of the field there.
    """

    file: str
    keys: tuple[str, ...]
    members: tuple[type[Spec], ...]
    default: Any = None

    def __str__(self) -> str:
        return f"{self.file}: {'.'.join(self.keys)}" if self.keys else self.file

    @property
    def known(self) -> dict[str, Any]:
        """Fields that the table there may have, by key."""
        return {key: field for each in self.members for key, field in each.model_fields.items()}

    def below(self, part: str | int) -> "_Place":
        """One part further; the tag of a union's member is no key of the file."""
        chosen = tuple(each for each in self.members if part in _tags(each))
        if chosen and len(self.members) > 1:
            return _Place(self.file, self.keys, chosen)
        field = self.known.get(str(part))
        keys = (*self.keys, str(part))
        if field is None:
            return _Place(self.file, keys, ())
        kinds = (field.annotation, *get_args(field.annotation))
        members = tuple(each for each in kinds if hasattr(each, "model_fields"))
        return _Place(self.file, keys, members, field.default)


def told(
    fault: Mapping[str, Any], file: str, *, spec: type[Spec], table: tuple[str, ...] = ()
) -> str:
    """One fault, as pydantic found it, in words.

    Args:
        fault: one of a validation error's.
        file: where the keys come from.
        spec: that the error is of.
        table: keys that lead to what the spec is of; none for the whole file.
    """
    place = before = _Place(file, table, (spec,))
    for part in fault["loc"]:
        before, place = place, place.below(part)
    found, message = fault["input"], str(fault["msg"]).removeprefix("Value error, ")
    match fault["type"]:
        case "extra_forbidden":
            return _unknown(place, found, accepted=before.known)
        case "missing":
            return f"{place}: required, not found"
        case "union_tag_not_found" | "union_tag_invalid":
            return _of_no_member(place, found, fault["ctx"]["discriminator"].strip("'"))
        case "value_error" if not place.keys or isinstance(found, Mapping | Spec):
            key, colon, rest = message.partition(": ")
            inside = place.keys and colon and key.isidentifier()
            return f"{place}.{key}: {rest}" if inside else f"{place}: {message}"
        case "value_error":
            return f"{place}: found {found!r}; {message}"
    return f"{place}: found {found!r}; accepted is {_accepted(fault['type'], message, place)}"


def _accepted(kind: str, message: str, place: _Place) -> str:
    """What a value may be."""
    if kind in ("model_type", "model_attributes_type"):
        return f"a table with the keys {', '.join(place.known)}"
    if kind == "tuple_type":
        example = json.dumps(place.default[-1:], ensure_ascii=False) if place.default else ""
        return f"a list, as {example}" if example else "a list, in brackets"
    if kind.startswith(("greater_than", "less_than")):
        return f"a number {message.removeprefix(WORDS)}"
    return KINDS.get(kind, message.removeprefix(WORDS))


def _of_no_member(place: _Place, found: Mapping[str, Any], chooser: str) -> str:
    """Of a table whose key `chooser` names no known kind of it, or is not there."""
    tags = ", ".join(repr(tag) for member in place.members for tag in _tags(member))
    if chooser in found:
        return f"{place.below(chooser)}: found {found[chooser]!r}; accepted are {tags}"
    for key, value in found.items():
        if key not in place.known:
            return _unknown(place.below(key), value, accepted=place.known)
    return f"{place.below(chooser)}: required, not found; accepted are {tags}"


def _unknown(place: _Place, found: object, *, accepted: Iterable[str]) -> str:
    return f"{place}: unknown key, found {found!r}; accepted are {', '.join(accepted)}"


def _tags(member: type[Spec]) -> tuple[Any, ...]:
    """What the first key of a union's member may hold, which chooses it."""
    return get_args(next(iter(member.model_fields.values())).annotation)
