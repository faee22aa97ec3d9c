"""Settings of the wrong kind: found where they are written, not where they are used."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from callmeter.errors import ConfigurationError

__all__ = ["check_types"]


def check_types(config: object) -> None:
    """Refuse what is of another kind than its field says; a list becomes a tuple.

    The value is not shown: it may be a password in the wrong place.

    Args:
        config: A frozen configuration, its words settled.

    Raises:
        ConfigurationError: Naming the field, and what belongs there.
    """
    # mypy takes the hash of a class for that of its objects.
    for name, kinds in _kinds(type(config)).items():  # type: ignore[arg-type]
        value = getattr(config, name)
        if isinstance(value, kinds):
            continue
        if tuple in kinds and isinstance(value, list):
            object.__setattr__(config, name, tuple(value))
            continue
        wanted = " or ".join(map(_named, kinds))
        raise ConfigurationError(
            f"{name} of {type(config).__name__} takes {wanted}, not {_named(type(value))}"
        )


def _named(kind: type) -> str:
    if kind is NoneType:
        return "None"
    return f"{'an' if kind.__name__[0] in 'aeiouAEIO' else 'a'} {kind.__name__}"


@cache
def _kinds(config: type[Any]) -> dict[str, tuple[type, ...]]:
    """Of each field whose annotation consists of classes."""
    hints = get_type_hints(config)
    found = {field.name: _classes(hints[field.name]) for field in fields(config)}
    return {name: kinds for name, kinds in found.items() if kinds}


def _classes(hint: Any) -> tuple[type, ...]:
    members = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    found = tuple(get_origin(member) or member for member in members)
    if not all(isinstance(kind, type) for kind in found):
        return ()
    return (*found, int) if float in found else found
