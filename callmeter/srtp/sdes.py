"""SDP security descriptions: the keys in a=crypto lines (RFC 4568).

A line is parsed into a `CryptoLine`, then asked whether this build and these settings can honour
all it says; what cannot be honoured is refused with a reason, never ignored. Key material stays
out of every message, repr and piece of evidence.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Self

from callmeter.errors import NoCommonSuite, SdesKeyError
from callmeter.sdp.attributes import CryptoAttribute
from callmeter.srtp.libsrtp import DOOR, supported_suites
from callmeter.srtp.protection_profiles import ProtectionProfile, for_suite, profile
from callmeter.srtp.session_parameters import SessionParameters
from callmeter.srtp.stream_policy import MAX_MASTER_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from callmeter.config import SrtpSuite
    from callmeter.srtp.stream_policy import Door

__all__ = [
    "ALL_PROTECTED",
    "CryptoLine",
    "MasterKey",
    "SessionParameters",
    "accept_answer",
    "accept_offer",
    "generate",
    "offer",
    "parse_keys",
]

MAX_LIFETIME: Final = 2**48
"""SRTP packets one master key may protect (RFC 3711 section 9.2)."""
MAX_MKI_LENGTH: Final = 128

_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+(={0,2})")
_LIFETIME: Final = re.compile(r"(2\^)?([0-9]{1,15})")
_MKI: Final = re.compile(r"([0-9]{1,309}):([0-9]{1,3})")

ALL_PROTECTED: Final = SessionParameters()
"""No session parameter: every packet encrypted and authenticated."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    """One inline key (RFC 4568 section 6.1).

    Attributes:
        key_and_salt: Master key followed by master salt; never shown.
        lifetime: Packets it may protect, None for the default of 2^48.
        mki: Value of the master key identifier in packets, None when they carry none.
        mki_length: Octets of that identifier, 0 when there is none.
    """

    key_and_salt: bytes = field(repr=False)
    lifetime: int | None = None
    mki: int | None = None
    mki_length: int = 0

    @property
    def mki_octets(self) -> bytes:
        """The identifier as packets carry it; empty when they carry none."""
        return b"" if self.mki is None else self.mki.to_bytes(self.mki_length, "big")

    @classmethod
    def parse(cls, text: str, length: int | None = None) -> Self:
        """Read `inline:<key||salt>["|" lifetime]["|" MKI ":" length]`.

        Args:
            text: One key parameter.
            length: Octets the suite asks for; None does not check.

        Raises:
            SdesKeyError: It is not base64, of the wrong length, or its lifetime or MKI is not
                allowed.
        """
        method, _, information = text.partition(":")
        if method.lower() != "inline":
            raise SdesKeyError("the key method is not inline (RFC 4568 section 6.1)")
        encoded, *rest = information.split("|")
        key_and_salt = _decode(encoded)
        if length is not None and len(key_and_salt) != length:
            raise SdesKeyError(
                f"the inline key is {len(key_and_salt)} octets long, the suite needs {length}",
                evidence={"key_length": len(key_and_salt), "expected_length": length},
            )
        lifetime = None
        if rest and ":" not in rest[0]:
            lifetime = _parse_lifetime(rest.pop(0))
        mki, mki_length = _parse_mki(rest.pop(0)) if rest else (None, 0)
        if rest:
            raise SdesKeyError("the inline key has more fields than key, lifetime and MKI")
        return cls(key_and_salt, lifetime, mki, mki_length)

    def to_text(self) -> str:
        """The key parameter, padded as RFC 4568 section 6.1 asks; this *is* key material."""
        text = "inline:" + binascii.b2a_base64(self.key_and_salt, newline=False).decode("ascii")
        if self.lifetime is not None:
            power = self.lifetime.bit_length() - 1
            text += f"|2^{power}" if self.lifetime == 1 << power else f"|{self.lifetime}"
        return text if self.mki is None else f"{text}|{self.mki}:{self.mki_length}"


def _decode(encoded: str) -> bytes:
    match = _BASE64.fullmatch(encoded)
    if match is None:
        raise SdesKeyError("the inline key is not base64 (RFC 4568 section 6.1)")
    # relays drop the padding: accept none, but what is there must be right
    padding = -(len(encoded) - len(match[1])) % 4
    if padding == 3 or len(match[1]) not in {0, padding}:  # noqa: PLR2004  RFC 4648 section 4
        raise SdesKeyError("the inline key is base64 that was cut or padded wrongly")
    return binascii.a2b_base64(encoded + "=" * (padding - len(match[1])))


def _parse_lifetime(text: str) -> int:
    match = _LIFETIME.fullmatch(text)
    if match is not None:
        number = int(match[2])
        if match[1]:
            number = 1 << min(number, 64)
        if 0 < number <= MAX_LIFETIME:
            return number
    raise SdesKeyError("the key lifetime is not 1 to 2^48 packets (RFC 4568 section 6.1)")


def _parse_mki(text: str) -> tuple[int, int]:
    match = _MKI.fullmatch(text)
    if match is None:
        raise SdesKeyError("the MKI is not value:length (RFC 4568 section 6.1)")
    value, length = int(match[1]), int(match[2])
    if not 1 <= length <= MAX_MKI_LENGTH:
        raise SdesKeyError("the MKI length is not 1 to 128 octets (RFC 4568 section 6.1)")
    if value >> (8 * length):
        raise SdesKeyError("the MKI value does not fit its length (RFC 4568 section 6.1)")
    return value, length


def parse_keys(key_params: str, length: int | None = None) -> tuple[MasterKey, ...]:
    """Read the key parameters of a line.

    Args:
        key_params: Third field of the line: one or more, parted by semicolons.
        length: Octets of key and salt the suite asks for; None does not check.

    Raises:
        SdesKeyError: One of them is wrong, or they cannot be told apart by their MKI.
    """
    texts = key_params.split(";", MAX_MASTER_KEYS)
    if len(texts) > MAX_MASTER_KEYS:
        raise SdesKeyError(f"more than {MAX_MASTER_KEYS} keys in one line")
    keys = tuple(MasterKey.parse(text, length) for text in texts)
    if len(keys) > 1:
        if any(key.mki is None for key in keys):
            raise SdesKeyError("several keys need an MKI each (RFC 4568 section 6.1)")
        if len({key.mki_length for key in keys}) > 1:
            raise SdesKeyError("the MKI lengths of the keys differ (RFC 4568 section 6.1)")
        if len({key.mki for key in keys}) < len(keys):
            raise SdesKeyError("two keys have the same MKI")
    return keys


@dataclass(frozen=True, slots=True)
class CryptoLine:
    """One a=crypto line whose suite is known and whose keys are sound.

    Attributes:
        tag: Its number within the media description.
        profile: Suite and lengths.
        keys: One or more; the first protects what its owner sends.
        parameters: Session parameters.
    """

    tag: int
    profile: ProtectionProfile
    keys: tuple[MasterKey, ...]
    parameters: SessionParameters = ALL_PROTECTED

    @classmethod
    def from_attribute(cls, attribute: CryptoAttribute) -> Self:
        """Read a line of a session description.

        Raises:
            SdesKeyError: The suite is not known, or a key or session parameter is wrong.
        """
        found = profile(attribute.suite)
        if found is None:
            raise SdesKeyError(
                "the crypto suite is not known", evidence={"suite": attribute.suite[:64]}
            )
        try:
            keys = parse_keys(attribute.key_params, found.master_length)
            parameters = SessionParameters.parse(attribute.session_params)
        except SdesKeyError as error:
            error.evidence.update(tag=attribute.tag, suite=found.name)
            raise
        return cls(attribute.tag, found, keys, parameters)

    def to_attribute(self) -> CryptoAttribute:
        """The line as it goes into a session description."""
        return CryptoAttribute(
            self.tag,
            self.profile.name,
            ";".join(key.to_text() for key in self.keys),
            self.parameters.to_texts(),
        )

    def refusal(
        self, *, allowed: SessionParameters = ALL_PROTECTED, door: Door = DOOR
    ) -> str | None:
        """Why this line cannot be honoured, or None when it can.

        Args:
            allowed: The `unencrypted_` and `unauthenticated_` settings that may be accepted.
            door: What libsrtp can do here.
        """
        if self.profile.suite not in supported_suites(door):
            return "this build of libsrtp lacks the suite"
        if self.keys[0].mki is not None and not door.whole:
            return "this build of libsrtp reads no MKI"
        return self.parameters.refusal(allowed, aead=self.profile.aead, whole=door.whole)


def generate(
    profile: ProtectionProfile,
    tag: int,
    entropy: Callable[[int], bytes],
    *,
    parameters: SessionParameters = ALL_PROTECTED,
) -> CryptoLine:
    """Make a line with a fresh key.

    Args:
        profile: Its suite.
        tag: Its number.
        entropy: Gives that many unpredictable octets.
        parameters: Its session parameters.
    """
    return CryptoLine(tag, profile, (MasterKey(entropy(profile.master_length)),), parameters)


def offer(
    suites: Iterable[SrtpSuite],
    entropy: Callable[[int], bytes],
    *,
    parameters: SessionParameters = ALL_PROTECTED,
    door: Door = DOOR,
) -> tuple[CryptoLine, ...]:
    """Make the lines of an offer: tags from 1, a key each, suites this build lacks left out."""
    supported = supported_suites(door)
    usable = [suite for suite in suites if suite in supported]
    return tuple(
        generate(for_suite(suite), tag, entropy, parameters=parameters)
        for tag, suite in enumerate(usable, 1)
    )


def accept_offer(
    offered: Sequence[CryptoAttribute],
    suites: Sequence[SrtpSuite],
    entropy: Callable[[int], bytes],
    *,
    allowed: SessionParameters = ALL_PROTECTED,
    current: tuple[CryptoLine, CryptoLine] | None = None,
    door: Door = DOOR,
) -> tuple[CryptoLine, CryptoLine]:
    """Choose a line of an offer and make the answer to it (RFC 4568 section 5.1.2).

    The order of `suites` decides, not that of the offer. Lines that cannot be honoured are
    passed over.

    Args:
        offered: The a=crypto lines of one media description.
        suites: What may be chosen, in order of preference.
        entropy: Gives the own key.
        allowed: Session parameters that may be accepted though they weaken protection.
        current: The (local, remote) lines in use. An offer that repeats the remote key gets the
            local key again, so that the rollover counters live on.
        door: What libsrtp can do here.

    Returns:
        The own line for the answer, and the peer's line.

    Raises:
        NoCommonSuite: No line is left, or two lines share a tag; `.offered` and `.supported`
            name the suites, the message says why each line was passed over.
    """
    names = [attribute.suite for attribute in offered]
    tags = [attribute.tag for attribute in offered]
    refusals = _Refusals(names, suites)
    if len(set(tags)) < len(tags):
        raise refusals.error("two a=crypto lines have the same tag (RFC 4568 section 5.1.1)")
    usable: dict[SrtpSuite, CryptoLine] = {}
    for attribute in offered:
        try:
            line = CryptoLine.from_attribute(attribute)
        except SdesKeyError as error:
            refusals.add(attribute, str(error), error)
            continue
        if line.profile.suite not in suites:
            reason: str | None = "the suite is not enabled"
        else:
            reason = line.refusal(allowed=allowed, door=door)
        if reason is None:
            usable.setdefault(line.profile.suite, line)
        else:
            refusals.add(attribute, reason)
    for suite in suites:
        if suite in usable:
            remote = usable[suite]
            if current and (current[1].profile, current[1].keys) == (remote.profile, remote.keys):
                keys = current[0].keys
            else:
                keys = generate(remote.profile, remote.tag, entropy).keys
            return CryptoLine(
                remote.tag, remote.profile, keys, remote.parameters.negotiated
            ), remote
    raise refusals.error("no a=crypto line of the offer can be used")


def accept_answer(
    offered: Sequence[CryptoLine],
    answered: Sequence[CryptoAttribute],
    *,
    door: Door = DOOR,
) -> tuple[CryptoLine, CryptoLine]:
    """Find out which line an answer accepted (RFC 4568 section 5.1.3).

    A renumbered tag is followed when the suite was offered once. Of several lines the first
    usable one counts.

    Args:
        offered: The lines of the own offer.
        answered: The a=crypto lines of the answer.
        door: What libsrtp can do here.

    Returns:
        The own line, with the protection the peer agreed to, and the peer's line.

    Raises:
        NoCommonSuite: No line can be used.
        SdesKeyError: The answer sends back a key of the offer.
    """
    own = {key.key_and_salt for line in offered for key in line.keys}
    refusals = _Refusals(
        [attribute.suite for attribute in answered], [line.profile.suite for line in offered]
    )
    for attribute in answered:
        try:
            remote = CryptoLine.from_attribute(attribute)
        except SdesKeyError as error:
            refusals.add(attribute, str(error), error)
            continue
        if any(key.key_and_salt in own for key in remote.keys):
            raise SdesKeyError(
                "the answer sends back the offered key; each side needs its own",
                evidence={"tag": remote.tag, "suite": remote.profile.name},
            )
        local = _offered_line(offered, remote)
        if local is None:
            reason: str | None = "no such line was offered"
        else:
            reason = remote.refusal(allowed=local.parameters, door=door)
        if local is not None and reason is None:
            return replace(local, parameters=remote.parameters.negotiated), remote
        refusals.add(attribute, str(reason))
    raise refusals.error(
        "no a=crypto line of the answer can be used"
        if answered
        else "the answer has no a=crypto line"
    )


def _offered_line(offered: Sequence[CryptoLine], remote: CryptoLine) -> CryptoLine | None:
    same_suite = [line for line in offered if line.profile is remote.profile]
    for line in same_suite:
        if line.tag == remote.tag:
            return line
    return same_suite[0] if len(same_suite) == 1 else None


class _Refusals:
    """Why each line was passed over, for one error at the end."""

    def __init__(self, offered: Sequence[str], supported: Sequence[SrtpSuite]) -> None:
        self._offered = [name[:64] for name in offered]
        self._supported = [suite.value for suite in supported]
        self._reasons: list[str] = []
        self._cause: SdesKeyError | None = None

    def add(
        self, attribute: CryptoAttribute, reason: str, cause: SdesKeyError | None = None
    ) -> None:
        self._reasons.append(f"{attribute.tag} {attribute.suite[:64]}: {reason}")
        self._cause = self._cause or cause

    def error(self, message: str) -> NoCommonSuite:
        error = NoCommonSuite(
            "; ".join([message, *self._reasons]),
            offered=self._offered,
            supported=self._supported,
        )
        error.__cause__ = self._cause
        return error
