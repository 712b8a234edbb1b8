"""The tables and keys of a job file, unchecked, and the overrides of a command line."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from models.errors import JobError


def read_keys(path: Path, *, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The tables and keys of a job file, unchecked.

    Args:
        path: a TOML file.
        overrides: `key=value` each, the key dotted, the value TOML or a plain string.

    Raises:
        JobError: If the file is no TOML, or an override has another form.
    """
    try:
        keys = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as fault:
        reason = getattr(fault, "strerror", None) or "not UTF-8 text"
        raise JobError(f"{path}: {reason}; accepted is a TOML file") from None
    except tomllib.TOMLDecodeError as fault:
        raise JobError(f"{path}: not TOML: {fault}") from None
    for override in overrides:
        _apply(keys, override)
    return keys


def _apply(keys: dict[str, Any], override: str) -> None:
    """Set one key from `key=value`."""
    dotted, separator, text = override.partition("=")
    places = dotted.strip().split(".")
    if not separator or not all(places):
        raise JobError(f"--set {override}: accepted is KEY=VALUE, as in train.epochs=3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = keys
    for place in places[:-1]:
        table = table.setdefault(place, {})
        if not isinstance(table, dict):
            raise JobError(f"--set {override}: {place} is no table")
    table[places[-1]] = value
