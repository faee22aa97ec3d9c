"""Session parameters of an a=crypto line (RFC 4568 section 6.3).

Each is honoured or is a reason to refuse the line. None is ignored, but for those whose name
starts with a dash: RFC 4568 section 6.3.7 calls them optional.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from callmeter.errors import SdesKeyError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SessionParameters"]

MIN_WINDOW_HINT: Final = 64

_FLAGS: Final = {
    "UNENCRYPTED_SRTP": "unencrypted_srtp",
    "UNENCRYPTED_SRTCP": "unencrypted_srtcp",
    "UNAUTHENTICATED_SRTP": "unauthenticated_srtp",
}
_KDR: Final = re.compile(r"[0-9]|1[0-9]|2[0-4]")
_WSH: Final = re.compile(r"[0-9]{2,9}")
_HARMLESS_NAME: Final = re.compile(r"[A-Z]{2,20}(?:_[A-Z]{1,20}){1,4}")


@dataclass(frozen=True, slots=True)
class SessionParameters:
    """What a line says besides its keys.

    Attributes:
        kdr: Session keys are derived anew every 2^kdr packets; None derives once.
        unencrypted_srtp: RTP payloads stay in clear.
        unencrypted_srtcp: RTCP stays in clear.
        unauthenticated_srtp: RTP carries no tag.
        fec_order: `"FEC_SRTP"` or `"SRTP_FEC"`, None when not said.
        fec_key: Whether a separate key for forward error correction was given.
        wsh: Replay window the sender thinks is needed, in packets.
        unknown: Optional parameters that were not understood and are left out.
    """

    kdr: int | None = None
    unencrypted_srtp: bool = False
    unencrypted_srtcp: bool = False
    unauthenticated_srtp: bool = False
    fec_order: str | None = None
    fec_key: bool = False
    wsh: int | None = None
    unknown: tuple[str, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Self:
        """Read the fields after the keys.

        Raises:
            SdesKeyError: One has a value that is not allowed, stands there twice, or is not
                known and not optional.
        """
        values: dict[str, Any] = {}
        unknown: list[str] = []
        for text in texts:
            if text.startswith("-"):
                unknown.append(text)
                continue
            name, equals, value = text.partition("=")
            field, parsed = _parse_one(name.upper(), value if equals else None)
            if field in values:
                raise SdesKeyError(f"session parameter {name.upper()} stands there twice")
            values[field] = parsed
        return cls(**values, unknown=tuple(unknown))

    def to_texts(self) -> tuple[str, ...]:
        """The fields as they go into a line; a FEC key and unknown ones are never sent."""
        texts = [] if self.kdr is None else [f"KDR={self.kdr}"]
        texts += [name for name, field in _FLAGS.items() if getattr(self, field)]
        if self.fec_order is not None:
            texts.append(f"FEC_ORDER={self.fec_order}")
        if self.wsh is not None:
            texts.append(f"WSH={self.wsh}")
        return tuple(texts)

    @property
    def negotiated(self) -> SessionParameters:
        """The part that an answer repeats; the rest only describes its own sender."""
        return SessionParameters(
            unencrypted_srtp=self.unencrypted_srtp,
            unencrypted_srtcp=self.unencrypted_srtcp,
            unauthenticated_srtp=self.unauthenticated_srtp,
        )

    @property
    def weakens(self) -> bool:
        """Whether some packet goes in clear or without a tag."""
        return self.unencrypted_srtp or self.unencrypted_srtcp or self.unauthenticated_srtp

    def refusal(self, allowed: SessionParameters, *, aead: bool, whole: bool) -> str | None:
        """Why these parameters cannot be honoured, or None when they can.

        FEC_ORDER is honoured by having nothing to order: callmeter never accepts a FEC format.

        Args:
            allowed: The settings that weaken protection and may yet be accepted.
            aead: Whether the suite is a GCM suite.
            whole: Whether libsrtp can be asked for weaker protection.
        """
        if self.kdr is not None:
            return "KDR: libsrtp derives session keys once"
        if self.fec_key:
            return "FEC_KEY: no forward error correction is done here"
        for name, field in _FLAGS.items():
            if getattr(self, field) and not getattr(allowed, field):
                return f"{name} is not allowed by the settings"
        if self.unauthenticated_srtp and aead:
            return "UNAUTHENTICATED_SRTP: a GCM suite always has its tag (RFC 7714 section 4)"
        if self.weakens and not whole:
            return "this build of libsrtp cannot be asked for weaker protection"
        return None


def _parse_one(name: str, value: str | None) -> tuple[str, Any]:
    if name in _FLAGS and value is None:
        return _FLAGS[name], True
    if name == "KDR" and value is not None and _KDR.fullmatch(value):
        return "kdr", int(value)
    if name == "WSH" and value is not None and _WSH.fullmatch(value):
        if int(value) < MIN_WINDOW_HINT:
            raise SdesKeyError("WSH is below 64 (RFC 4568 section 6.3.6)")
        return "wsh", int(value)
    if name == "FEC_ORDER" and value in {"FEC_SRTP", "SRTP_FEC"}:
        return "fec_order", value
    if name == "FEC_KEY" and value:
        return "fec_key", True
    if name in {*_FLAGS, "KDR", "WSH", "FEC_ORDER", "FEC_KEY"}:
        raise SdesKeyError(f"session parameter {name} has a wrong value (RFC 4568 section 6.3)")
    # a key broken in two by a blank lands here: show nothing that could be a piece of it
    shown = name if _HARMLESS_NAME.fullmatch(name) else f"of {len(name)} characters"
    raise SdesKeyError(f"an unknown mandatory session parameter {shown} (RFC 4568 section 6.3.7)")
