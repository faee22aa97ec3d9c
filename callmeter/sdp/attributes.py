"""Attribute values with a grammar of their own (RFC 8866 section 6 and the RFCs named below).

Each value has `parse(text)`, which raises `SdpSyntaxError`, and `str()`, which gives the text
after the attribute's colon.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

from callmeter.sdp.grammar import BLANKS, decimal, folded, is_token, redacted, syntax_error, words

__all__ = [
    "MAX_CHANNELS",
    "MAX_CLOCK_RATE",
    "MAX_PAYLOAD_TYPE",
    "MAX_PORT",
    "Attribute",
    "CryptoAttribute",
    "Direction",
    "Fingerprint",
    "Fmtp",
    "RtcpAttribute",
    "RtcpFb",
    "RtpMap",
    "Setup",
]

MAX_PAYLOAD_TYPE: Final = 127
MAX_PORT: Final = 65_535
MAX_CLOCK_RATE: Final = 384_000
MAX_CHANNELS: Final = 8

_TAG: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_SUITE: Final = re.compile(r"[A-Za-z0-9_]+")
_KEY_PARAMS: Final = re.compile(r"[A-Za-z0-9-]+:[!-~]+")
_HEX_PAIRS: Final = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})*")

_DIGEST_OCTETS: Final = {
    "md5": 16,
    "sha-1": 20,
    "sha-224": 28,
    "sha-256": 32,
    "sha-384": 48,
    "sha-512": 64,
}
_RTCP_WORDS: Final = (1, 4)


@dataclass(frozen=True, slots=True, repr=False)
class Attribute:
    """One a= line: a property (`value` None) or a value attribute (RFC 8866 section 5.13)."""

    name: str
    value: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what follows `a=`; blanks around name and value do not count."""
        name, colon, value = text.partition(":")
        return cls(name.strip(BLANKS), value.strip(BLANKS) if colon else None)

    @property
    def key(self) -> str:
        """The name for comparisons: peers write some names in other cases."""
        return folded(self.name)

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}:{self.value}"

    def __repr__(self) -> str:
        return f"Attribute({redacted(f'a={self}')!r})"


class Direction(StrEnum):
    """Who sends, seen from the side whose description it is (RFC 8866 section 6.7)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @classmethod
    def of(cls, *, sends: bool, receives: bool) -> Direction:
        """The direction with these two halves."""
        if sends:
            return cls.SENDRECV if receives else cls.SENDONLY
        return cls.RECVONLY if receives else cls.INACTIVE

    @property
    def sends(self) -> bool:
        """Whether this side sends media."""
        return self in {Direction.SENDRECV, Direction.SENDONLY}

    @property
    def receives(self) -> bool:
        """Whether this side takes media."""
        return self in {Direction.SENDRECV, Direction.RECVONLY}

    @property
    def reversed(self) -> Direction:
        """The same flow seen from the other side."""
        return Direction.of(sends=self.receives, receives=self.sends)

    def answer_to(self, offered: Direction) -> Direction:
        """What to answer when this is wanted and `offered` stands in the offer.

        A sendonly stream is answered recvonly or inactive, an inactive one inactive
        (RFC 3264 section 6.1).
        """
        return Direction.of(
            sends=self.sends and offered.receives, receives=self.receives and offered.sends
        )


class Setup(StrEnum):
    """Who starts the DTLS handshake (RFC 4145 section 4, RFC 5763 section 5)."""

    ACTIVE = "active"
    PASSIVE = "passive"
    ACTPASS = "actpass"
    HOLDCONN = "holdconn"

    @classmethod
    def parse(cls, text: str) -> Setup:
        """Read a role, in any case of letters."""
        try:
            return cls(folded(text.strip(BLANKS)))
        except ValueError:
            raise syntax_error(
                "a=setup names no role", "RFC 4145 section 4", f"a=setup:{text}"
            ) from None

    @property
    def answer(self) -> Setup:
        """The role to answer with: the answerer of actpass is active (RFC 5763 section 5)."""
        return _SETUP_ANSWERS[self]


_SETUP_ANSWERS: Final = {
    Setup.ACTIVE: Setup.PASSIVE,
    Setup.PASSIVE: Setup.ACTIVE,
    Setup.ACTPASS: Setup.ACTIVE,
    Setup.HOLDCONN: Setup.HOLDCONN,
}


@dataclass(frozen=True, slots=True)
class RtpMap:
    """a=rtpmap: which encoding a payload type stands for (RFC 8866 section 6.6).

    Attributes:
        payload_type: 0 to 127.
        encoding: Encoding name as written; names compare without case.
        clock_rate: RTP timestamp units a second, 1 to 384,000.
        channels: Audio channels, 1 to 8.
    """

    payload_type: int
    encoding: str
    clock_rate: int
    channels: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `0 PCMU/8000` or `10 L16/44100/2`."""
        number, mapping = _pair(text)
        payload_type = decimal(number, 0, MAX_PAYLOAD_TYPE)
        encoding, _, rest = mapping.partition("/")
        rate, _, parameter = rest.partition("/")
        clock_rate = decimal(rate, 1, MAX_CLOCK_RATE)
        channels = decimal(parameter or "1", 1, MAX_CHANNELS)
        if payload_type is None or clock_rate is None or channels is None or not is_token(encoding):
            raise syntax_error(
                "a=rtpmap is not a payload type 0-127, a name, a clock rate 1-384000"
                " and channels 1-8",
                "RFC 8866 section 6.6",
                f"a=rtpmap:{text}",
            )
        return cls(payload_type, encoding, clock_rate, channels)

    def __str__(self) -> str:
        channels = f"/{self.channels}" if self.channels != 1 else ""
        return f"{self.payload_type} {self.encoding}/{self.clock_rate}{channels}"


@dataclass(frozen=True, slots=True)
class Fmtp:
    """a=fmtp: parameters of one format, kept as text (RFC 8866 section 6.15)."""

    payload_type: int
    parameters: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `101 0-15`."""
        number, parameters = _pair(text)
        payload_type = decimal(number, 0, MAX_PAYLOAD_TYPE)
        if payload_type is None:
            raise syntax_error(
                "a=fmtp does not start with a payload type 0-127",
                "RFC 8866 section 6.15",
                f"a=fmtp:{text}",
            )
        return cls(payload_type, parameters)

    def __str__(self) -> str:
        return f"{self.payload_type} {self.parameters}"


@dataclass(frozen=True, slots=True)
class CryptoAttribute:
    """a=crypto: one way to protect the stream, its keys not looked into (RFC 4568 section 9.1).

    Attributes:
        tag: Number that offer and answer name the line by, at most nine digits.
        suite: Crypto suite as written.
        key_params: `inline:` and what follows, secret: never in `repr`.
        session_params: Words after the keys. Hidden in `repr` too: a key with a blank in it
            spills over into them.
    """

    tag: int
    suite: str
    key_params: str = field(repr=False)
    session_params: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1 AES_CM_128_HMAC_SHA1_80 inline:...`."""
        tag, suite, key_params, *session_params = [*words(text), "", "", ""]
        if not _TAG.fullmatch(tag):
            reason = "its tag is not a number of 1 to 9 digits without leading zero"
        elif not _SUITE.fullmatch(suite):
            reason = "its suite is not a name"
        elif not _KEY_PARAMS.fullmatch(key_params):
            reason = "it has no key parameters"
        else:
            return cls(int(tag), suite, key_params, tuple(filter(None, session_params)))
        raise syntax_error(
            f"a=crypto is not usable: {reason}", "RFC 4568 section 9.1", f"a=crypto:{text}"
        )

    def __str__(self) -> str:
        return " ".join((str(self.tag), self.suite, self.key_params, *self.session_params))


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """a=fingerprint: hash of the certificate of the DTLS handshake (RFC 8122 section 5).

    Attributes:
        algorithm: Hash name in lower case, `"sha-256"`.
        value: Upper-case hexadecimal pairs with colons.
    """

    algorithm: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `sha-256 4A:AD:...`, letters in any case; a digest of wrong length is refused."""
        algorithm, value = _pair(text)
        algorithm = folded(algorithm)
        octets = _DIGEST_OCTETS.get(algorithm)
        if not is_token(algorithm) or not _HEX_PAIRS.fullmatch(value):
            reason = "a=fingerprint is not a hash name and hexadecimal pairs"
        elif octets is not None and len(value) != 3 * octets - 1:
            reason = f"a=fingerprint of {algorithm} does not have {octets} octets"
        else:
            return cls(algorithm, value.upper())
        raise syntax_error(reason, "RFC 8122 section 5", f"a=fingerprint:{text}")

    @property
    def digest(self) -> bytes:
        """The hash itself."""
        return bytes.fromhex(self.value.replace(":", ""))

    def __str__(self) -> str:
        return f"{self.algorithm} {self.value}"


@dataclass(frozen=True, slots=True)
class RtcpAttribute:
    """a=rtcp: where RTCP goes when it is not the next port (RFC 3605 section 2.1).

    Attributes:
        port: 0 to 65,535.
        address: Host or address, None when it is that of the media.
    """

    port: int
    address: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `53020` or `53020 IN IP4 192.0.2.1`."""
        parts = words(text)
        port = decimal(parts[0], 0, MAX_PORT) if parts else None
        if port is None or len(parts) not in _RTCP_WORDS:
            raise syntax_error(
                "a=rtcp is not a port 0-65535 with or without an address",
                "RFC 3605 section 2.1",
                f"a=rtcp:{text}",
            )
        return cls(port, parts[3] if len(parts) > 1 else None)

    def __str__(self) -> str:
        if self.address is None:
            return str(self.port)
        return f"{self.port} IN {'IP6' if ':' in self.address else 'IP4'} {self.address}"


@dataclass(frozen=True, slots=True)
class RtcpFb:
    """a=rtcp-fb: an RTCP feedback message that may be sent (RFC 4585 section 4.2).

    Attributes:
        payload_type: The format it is for, None for all (`*`).
        kind: `"ack"`, `"nack"`, `"ccm"`, `"trr-int"` ...
        parameter: What follows, `"pli"` or empty.
    """

    payload_type: int | None
    kind: str
    parameter: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `* nack pli`."""
        target, kind, *parameter = [*words(text), "", ""]
        payload_type = None if target == "*" else decimal(target, 0, MAX_PAYLOAD_TYPE)
        if (payload_type is None and target != "*") or not is_token(kind):
            raise syntax_error(
                "a=rtcp-fb is not a payload type or * and a feedback type",
                "RFC 4585 section 4.2",
                f"a=rtcp-fb:{text}",
            )
        return cls(payload_type, kind, " ".join(filter(None, parameter)))

    def __str__(self) -> str:
        target = "*" if self.payload_type is None else str(self.payload_type)
        return " ".join(filter(None, (target, self.kind, self.parameter)))


def _pair(text: str) -> tuple[str, str]:
    """The first word and all that follows it."""
    first, *rest = re.split(r"[ \t]+", text.strip(BLANKS), maxsplit=1)
    return first, rest[0] if rest else ""
