"""Words for the members of enumerations: `"tls"` means `Transport.TLS` wherever one is set."""

from __future__ import annotations

from difflib import get_close_matches
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from callmeter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["member", "settle", "unknown"]

E = TypeVar("E", bound=Enum)


def member(kind: type[E], name: str, value: Any) -> E:
    """The member of an enumeration that a word means.

    Raises:
        ConfigurationError: None does; the nearest is named.
    """
    if isinstance(value, kind):
        return value
    word = str(value).replace("-", "_").upper()
    if word not in kind.__members__:
        raise unknown(name, value, kind.__members__)
    return kind[word]


def settle(config: Any, **kinds: type[Enum]) -> None:
    """Put members in place of the words that the fields of a frozen configuration may hold.

    Args:
        config: It; a field that holds several becomes a tuple of members.
        kinds: Enumeration by field.

    Raises:
        ConfigurationError: A word that means none.
    """
    for name, kind in kinds.items():
        given = getattr(config, name)
        found: object
        if isinstance(given, tuple | list):
            found = tuple(member(kind, name.removesuffix("s"), each) for each in given)
        else:
            found = member(kind, name, given)
        object.__setattr__(config, name, found)


def unknown(name: str, value: object, known: Iterable[str]) -> ConfigurationError:
    """The error of a word that is none of those known; the nearest of them is named."""
    nearest = get_close_matches(str(value), list(known), 1, 0.5) or get_close_matches(
        str(value).upper(), list(known), 1, 0.5
    )
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(sorted(known))}"
    return ConfigurationError(f"there is no {name} {value!r}: {hint}")
