"""Settings of the wrong kind: found where they are written, not where they are used."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from math import isnan
from types import NoneType, UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from callmeter.errors import ConfigurationError

__all__ = ["check_types"]

_Members: TypeAlias = "tuple[tuple[type, ...], int | None]"
"""Of a tuple: the classes of its members, and how many there are, or None."""


def check_types(config: object) -> None:
    """Refuse what is of another kind than its field says; a list becomes a tuple.

    The value is not shown: it may be a password in the wrong place.

    Args:
        config: A frozen configuration, its words settled.

    Raises:
        ConfigurationError: Naming the field, and what belongs there.
    """
    # mypy takes the hash of a class for that of its objects.
    for name, (kinds, members) in _kinds(type(config)).items():  # type: ignore[arg-type]
        value = getattr(config, name)
        field = f"{name} of {type(config).__name__}"
        if tuple in kinds and isinstance(value, list):
            value = tuple(value)
            object.__setattr__(config, name, value)
        if not isinstance(value, kinds):
            raise ConfigurationError(f"{field} takes {_any_of(kinds)}, not {_named(type(value))}")
        if isinstance(value, tuple) and members is not None:
            _check_members(field, value, members)
        if isinstance(value, float) and isnan(value):
            raise ConfigurationError(f"{field} is a number, not NaN")


def _check_members(field: str, given: tuple[object, ...], members: _Members) -> None:
    kinds, length = members
    if length is not None and len(given) != length:
        raise ConfigurationError(f"{field} has {length} values, not {len(given)}")
    for each in given:
        if not isinstance(each, kinds):
            raise ConfigurationError(
                f"a value in {field} is {_any_of(kinds)}, not {_named(type(each))}"
            )


def _any_of(kinds: tuple[type, ...]) -> str:
    return " or ".join(map(_named, kinds))


def _named(kind: type) -> str:
    if kind is NoneType:
        return "None"
    return f"{'an' if kind.__name__[0] in 'aeiouAEIO' else 'a'} {kind.__name__}"


@cache
def _kinds(config: type[Any]) -> dict[str, tuple[tuple[type, ...], _Members | None]]:
    """Of each field whose annotation consists of classes."""
    hints = get_type_hints(config)
    found = {
        field.name: (_classes(hints[field.name]), _members(hints[field.name]))
        for field in fields(config)
    }
    return {name: kinds for name, kinds in found.items() if kinds[0]}


def _classes(hint: Any) -> tuple[type, ...]:
    members = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    found = tuple(get_origin(member) or member for member in members)
    if not all(isinstance(kind, type) for kind in found):
        return ()
    return (*found, int) if float in found else found


def _members(hint: Any) -> _Members | None:
    """Of a tuple whose members are all of the same kind."""
    if get_origin(hint) is not tuple:
        return None
    first, *others = get_args(hint)
    return _classes(first), None if others == [Ellipsis] else 1 + len(others)
