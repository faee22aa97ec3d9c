"""What the settings of audio and those of video have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from callmeter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import StrEnum

__all__ = ["check_dscp", "check_feedback", "read_codecs"]

_FEEDBACK: Final = re.compile(r"[a-z0-9-]+( [a-z0-9-]+)*")
_DSCP: Final = range(64)


def read_codecs(config: Any, kind: type[StrEnum], word: str = "codec") -> None:
    """Put members in place of the names that `codecs` of a frozen configuration may hold.

    Args:
        config: It.
        kind: The codecs there are.
        word: What one of them is called.

    Raises:
        ConfigurationError: There is none, one that is not known, or one twice.
    """
    if not config.codecs:
        raise ConfigurationError(f"at least one {word} is needed")
    try:
        codecs = tuple(map(kind, config.codecs))
    except ValueError as error:
        known = ", ".join(kind)
        raise ConfigurationError(f"{word}s are some of {known}: {error}") from error
    if len(set(codecs)) < len(codecs):
        raise ConfigurationError(f"a {word} is listed twice")
    object.__setattr__(config, "codecs", codecs)


def check_feedback(messages: Iterable[str]) -> None:
    """Refuse what cannot stand in a=rtcp-fb (RFC 4585 section 4.2).

    Raises:
        ConfigurationError: Naming the message.
    """
    for message in messages:
        if not _FEEDBACK.fullmatch(message):
            raise ConfigurationError(
                f"{message!r} is no feedback message such as 'nack' or 'nack pli'"
            )


def check_dscp(dscp: int | None) -> None:
    """Refuse what is no DiffServ code point (RFC 2474 section 3); None is none.

    Raises:
        ConfigurationError: It is out of range.
    """
    if dscp is not None and dscp not in _DSCP:
        raise ConfigurationError("dscp is 0 to 63")
