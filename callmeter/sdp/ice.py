"""ICE in session descriptions (RFC 8839): credentials and candidates.

Reading tolerates: a candidate that cannot be used is dropped and noted, and without usable
credentials the line counts as one without ICE.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from callmeter.errors import SdpSyntaxError
from callmeter.sdp.attributes import MAX_PORT, Attribute
from callmeter.sdp.grammar import decimal, folded, syntax_error, words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callmeter.sdp.description import MediaDescription, SessionDescription

__all__ = [
    "ICE_SESSION_ATTRIBUTES",
    "MAX_CANDIDATES",
    "Candidate",
    "IceDescription",
    "host_candidate",
    "read_ice",
]

MAX_CANDIDATES: Final = 64
"""Candidates of one line that are read; the rest is noted and left."""
MAX_COMPONENT: Final = 256
ICE_SESSION_ATTRIBUTES: Final = (Attribute("ice-lite"), Attribute("ice-options", "ice2"))
"""What a lite agent of RFC 8445 says of itself (RFC 8839 sections 5.3 and 5.6)."""

_MAX_PRIORITY: Final = 2**31 - 1
_HOST_PREFERENCE: Final = 126
_ONLY_ADDRESS: Final = 65_535
_LEADING_WORDS: Final = 8
_FOUNDATION: Final = re.compile(r"[A-Za-z0-9+/]{1,32}")
_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}")


@dataclass(frozen=True, slots=True)
class Candidate:
    """a=candidate: one address that a component may be reached at (RFC 8839 section 5.1).

    Attributes:
        foundation: What candidates of one origin have in common.
        component: 1 for RTP, 2 for RTCP.
        transport: `"udp"` in lower case, or what stands there.
        priority: The higher the better.
        address: IP address or a name, such as the `.local` ones of browsers.
        port: Its port.
        kind: `"host"`, `"srflx"`, `"prflx"` or `"relay"`.
        extensions: All that follows, as written.
    """

    foundation: str
    component: int
    transport: str
    priority: int
    address: str
    port: int
    kind: str
    extensions: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1 1 UDP 2130706431 192.0.2.1 8998 typ host`."""
        foundation, component, transport, priority, address, port, typ, kind, *rest = [
            *words(text),
            *[""] * _LEADING_WORDS,
        ]
        component_number = decimal(component, 1, MAX_COMPONENT)
        priority_number = decimal(priority, 0, _MAX_PRIORITY)
        port_number = decimal(port, 0, MAX_PORT)
        if (
            component_number is None
            or priority_number is None
            or port_number is None
            or not _FOUNDATION.fullmatch(foundation)
            or folded(typ) != "typ"
            or not kind
        ):
            raise syntax_error(
                "a=candidate is not foundation, component, transport, priority, address, port"
                " and type",
                "RFC 8839 section 5.1",
                f"a=candidate:{text}",
            )
        return cls(
            foundation,
            component_number,
            folded(transport),
            priority_number,
            address,
            port_number,
            folded(kind),
            tuple(filter(None, rest)),
        )

    def __str__(self) -> str:
        return " ".join(
            (
                self.foundation,
                str(self.component),
                self.transport,
                str(self.priority),
                self.address,
                str(self.port),
                "typ",
                self.kind,
                *self.extensions,
            )
        )


def host_candidate(component: int, address: str, port: int) -> Candidate:
    """The candidate of an end with one address (RFC 8445 sections 5.1.2.1 and 5.2)."""
    priority = (_HOST_PREFERENCE << 24) + (_ONLY_ADDRESS << 8) + 256 - component
    return Candidate("1", component, "udp", priority, address, port, "host")


@dataclass(frozen=True, slots=True)
class IceDescription:
    """What a description says about ICE for one m= line.

    Attributes:
        ufrag: User name fragment.
        password: Never in `repr`.
        candidates: In their order; empty when they come later (RFC 8838) or the agent needs none.
        lite: The agent is a lite one: it answers checks and sends none.
        mismatch: It found its peer's default address changed on the way, and does without ICE.
        options: Tags of a=ice-options.
    """

    ufrag: str
    password: str = field(repr=False)
    candidates: tuple[Candidate, ...] = ()
    lite: bool = False
    mismatch: bool = False
    options: tuple[str, ...] = ()

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The lines of the m= section that say this; a=ice-lite stands above all of them."""
        return (
            Attribute("ice-ufrag", self.ufrag),
            Attribute("ice-pwd", self.password),
            *(Attribute("candidate", str(each)) for each in self.candidates),
            Attribute("end-of-candidates"),
        )


def read_ice(
    description: SessionDescription, media: MediaDescription, notes: list[str]
) -> IceDescription | None:
    """What one m= line says about ICE, by itself or by the session; None without credentials."""

    def either(name: str) -> str | None:
        own = media.attribute(name)
        return description.attribute(name) if own is None else own

    ufrag, password = either("ice-ufrag"), either("ice-pwd")
    if ufrag is None and password is None:
        return None
    if not _UFRAG.fullmatch(ufrag or "") or not _PASSWORD.fullmatch(password or ""):
        notes.append("a=ice-ufrag and a=ice-pwd are no pair of credentials (RFC 8839 section 5.4)")
        return None
    return IceDescription(
        ufrag or "",
        password or "",
        candidates=_candidates(media.attributes_named("candidate"), notes),
        lite=description.has_attribute("ice-lite"),
        mismatch=media.has_attribute("ice-mismatch"),
        options=tuple(
            tag
            for part in (description, media)
            for value in part.attributes_named("ice-options")
            for tag in words(value)
        ),
    )


def _candidates(texts: Iterable[str], notes: list[str]) -> tuple[Candidate, ...]:
    found: list[Candidate] = []
    for number, text in enumerate(texts, 1):
        if number > MAX_CANDIDATES:
            notes.append(f"more than {MAX_CANDIDATES} a=candidate lines, the rest is left")
            break
        try:
            found.append(Candidate.parse(text))
        except SdpSyntaxError as error:
            notes.append(f"a=candidate line {number} dropped: {error}")
    return tuple(found)
