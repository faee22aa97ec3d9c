"""What the checks look at: plain facts of one call, no key among them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from callmeter.config import SrtpMethod, SrtpPolicy
from callmeter.errors import SdpSyntaxError
from callmeter.sdp.parser import parse_description
from callmeter.sdp.profiles import Keying, RtpProfile
from callmeter.sdp.remote_track import read_tracks
from callmeter.srtp.protection_profiles import profile as suite_profile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from callmeter.errors import CallmeterError
    from callmeter.metrics.report import TlsReport
    from callmeter.sdp.attributes import CryptoAttribute
    from callmeter.srtp.trial import FailureCause

__all__ = ["CallEvidence", "Description", "KeyLine"]

_REDACTED: Final = re.compile(rb"\[redacted ([0-9]{1,9}) characters\]")
_STAND_IN: Final = re.compile(r"redacted-([0-9]{1,9})")
_LIFETIME: Final = re.compile(r"\|(2\^)?([0-9]{1,15})(?:\||$)")
_LONGEST_LIFETIME: Final = 48
_STRANGERS: Final = 10
"""Packets of a payload type that nobody agreed on, which are no accident."""
_BITS: Final = 6
"""A character of base64 carries so many."""


def _characters(octets: int) -> tuple[int, int]:
    """Characters of so many octets in base64, without padding and with it."""
    return -(-octets * 8 // _BITS), -(-octets // 3) * 4


@dataclass(frozen=True, slots=True)
class KeyLine:
    """An a=crypto line without its key.

    Attributes:
        tag: Its number.
        suite: Its suite as written.
        characters: Length of its first inline key in base64, None when it cannot be told.
        parameters: Its session parameters.
        lifetime: Packets that its first key may protect, None when it does not say.
    """

    tag: int
    suite: str
    characters: int | None = None
    parameters: tuple[str, ...] = ()
    lifetime: int | None = None

    @classmethod
    def of(cls, attribute: CryptoAttribute) -> Self:
        """Read a redacted line."""
        found = _STAND_IN.search(attribute.key_params)
        characters = None if found is None else int(found[1])
        said = _LIFETIME.search(attribute.key_params.partition(";")[0])
        lifetime = None
        if said is not None:
            lifetime = 1 << min(int(said[2]), _LONGEST_LIFETIME) if said[1] else int(said[2])
        return cls(attribute.tag, attribute.suite, characters, attribute.session_params, lifetime)

    @property
    def misspelt(self) -> str:
        """The right name of its suite, empty when it is the one written."""
        known = suite_profile(self.suite)
        return "" if known is None or known.name == self.suite.upper() else known.name

    @property
    def damage(self) -> str:
        """What is wrong with it in words, empty when nothing is."""
        known = suite_profile(self.suite)
        if any(_STAND_IN.search(word) for word in self.parameters):
            return f"line {self.tag} has words that are no session parameters"
        if known is None or self.characters is None:
            return ""
        bare, padded = _characters(known.master_length)
        if self.characters in {bare, padded}:
            return ""
        return (
            f"the key of line {self.tag} has {self.characters} characters, "
            f"{known.name} needs {padded}"
        )

    @property
    def unpadded(self) -> bool:
        """Whether the padding of its key was left out (RFC 4568 section 6.1 asks for it)."""
        known = suite_profile(self.suite)
        if known is None:
            return False
        bare, padded = _characters(known.master_length)
        return self.characters == bare != padded

    @property
    def clear_rtcp(self) -> bool:
        """Whether it keeps RTCP unencrypted."""
        return "UNENCRYPTED_SRTCP" in {word.upper() for word in self.parameters}


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The audio, or the video, of an offer or an answer.

    Attributes:
        protocol: The protocol of its m= line as written.
        profile: The same understood, None when it is no RTP.
        keys: Its a=crypto lines.
        fingerprints: How many a=fingerprint lines it has.
        codecs: Encoding names, each once.
        direction: As it says it, `"sendonly"` when it sends and does not receive.
        notes: What was odd about it.
    """

    protocol: str
    profile: RtpProfile | None
    keys: tuple[KeyLine, ...] = ()
    fingerprints: int = 0
    codecs: tuple[str, ...] = ()
    direction: str = "sendrecv"
    notes: tuple[str, ...] = ()

    @property
    def keying(self) -> Keying:
        """Which keys it carries."""
        return Keying.of(sdes=bool(self.keys), dtls=bool(self.fingerprints))

    @property
    def misfit(self) -> str:
        """Which keys stand under the profile of the other kind; empty when they fit."""
        if self.profile is None or not self.profile.secure:
            return ""
        if self.profile.dtls and self.keying is Keying.SDES:
            return f"{self.protocol} with a=crypto lines and no a=fingerprint"
        if not self.profile.dtls and self.keying.dtls:
            return f"{self.protocol} with a=fingerprint: that profile is for a=crypto lines"
        return ""

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites of its a=crypto lines."""
        return tuple(key.suite for key in self.keys)

    @classmethod
    def read(cls, body: bytes, kind: str = "audio") -> Self | None:
        """Read a session description whose secrets are redacted.

        Args:
            body: The description.
            kind: `"audio"` or `"video"`.

        Returns:
            None when it has no such line that is not refused.
        """
        try:
            tracks = read_tracks(parse_description(_REDACTED.sub(rb"redacted-\1", body)))
        except SdpSyntaxError:
            return None
        live = (track for track in tracks if track.kind == kind and not track.rejected)
        track = next(live, None)
        if track is None:
            return None
        return cls(
            protocol=track.protocol,
            profile=track.profile,
            keys=tuple(map(KeyLine.of, track.crypto)),
            fingerprints=len(track.fingerprints),
            codecs=tuple(dict.fromkeys(item.encoding for item in track.formats)),
            direction=track.direction.value,
            notes=track.notes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEvidence:
    """The facts of a call, at any moment of it.

    Attributes:
        answered: Whether the call was answered.
        final_status: The last definitive response to the INVITE, or None.
        error: What ended it, or None.
        seconds: How long media could flow: since the answer, or since there were keys.
        transport: `"UDP"`, `"TCP"`, `"TLS"`, `"WS"` or `"WSS"`; empty when nothing was sent.
        tls: TLS of the signalling, or None.
        largest_datagram: Octets of the longest SIP message that went over UDP.
        content_length: Content-Length and octets there were, of a message where they differ.
        bye_reason: What the peer's BYE gives as its Reason (RFC 3326), or empty.
        fell_back: The domain in which AUTO found no records, or None.
        policy, method: The own settings.
        suites: The suites enabled here.
        offer, answer: The descriptions of the last exchange, None when there was none.
        offered_here: Whether the offer was ours.
        misfit_here: Whether it was this end that first offered keys under the other profile.
        crosses_network: Whether a SIP message came from another host, or went to one.
        warnings: What was given up on the way.
        keying: `"none"`, `"sdes"` or `"dtls"`: how the keys in use were exchanged.
        suite: The suite in use, or None.
        codec: Encoding name, or None.
        direction: `"sendrecv"` and so on, seen from here; None without media.
        packets_sent, packets_received: RTP packets, those accepted.
        payload_octets: Length of an audio payload that was received.
        undecryptable: RTP packets that SRTP refused.
        failure: Why SRTP refuses all that arrives, None while it does not.
        old_key_packets: Packets under the previous key after a rekey.
        unfollowed: Of these, those since the last rekey; 0 once the new key was seen.
        roc_kept: New keys under which the peer's rollover counter went on.
        roc_resets: Changes of the peer's rollover counter under a key that stayed.
        rtcp_sent, rtcp_received: Compound packets.
        rtcp_in_clear: Plain RTCP packets where SRTCP was agreed.
        rtcp_mismatches: SRTCP packets whose E bit is not what was agreed.
        rtcp_short_tags: SRTCP packets with the tag length of RTP.
        reported_loss: Loss of our packets by the peer's last report, percent, or None.
        report_after: Seconds from our first packet to the peer's last report, or None.
        level_dbov: Level of the received audio, None when it was not measured.
        level_packets: Packets that were measured.
        keyed_after: Seconds from the answer to the keys of the DTLS handshake, None before.
        dropped: Datagrams that were not accepted, by reason.
    """

    answered: bool = False
    final_status: int | None = None
    error: CallmeterError | None = None
    seconds: float = 0.0
    transport: str = ""
    tls: TlsReport | None = None
    largest_datagram: int = 0
    content_length: tuple[int, int] | None = None
    bye_reason: str = ""
    fell_back: str | None = None
    policy: SrtpPolicy = SrtpPolicy.DISABLED
    method: SrtpMethod = SrtpMethod.SDES
    suites: tuple[str, ...] = ()
    offer: Description | None = None
    answer: Description | None = None
    offered_here: bool = True
    misfit_here: bool = False
    crosses_network: bool = False
    warnings: tuple[str, ...] = ()
    keying: str = "none"
    suite: str | None = None
    codec: str | None = None
    direction: str | None = None
    packets_sent: int = 0
    packets_received: int = 0
    payload_octets: int = 0
    undecryptable: int = 0
    failure: FailureCause | None = None
    old_key_packets: int = 0
    unfollowed: int = 0
    roc_kept: int = 0
    roc_resets: int = 0
    rtcp_sent: int = 0
    rtcp_received: int = 0
    rtcp_in_clear: int = 0
    rtcp_mismatches: int = 0
    rtcp_short_tags: int = 0
    reported_loss: float | None = None
    report_after: float | None = None
    level_dbov: float | None = None
    level_packets: int = 0
    keyed_after: float | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def wants_srtp(self) -> bool:
        """Whether the own policy allows or asks for SRTP."""
        return self.policy is not SrtpPolicy.DISABLED

    @property
    def secure(self) -> bool:
        """Whether the media has keys."""
        return self.keying != "none"

    @property
    def has_media(self) -> bool:
        """Whether the call was answered and its media began."""
        return self.answered and self.direction is not None

    @property
    def theirs(self) -> Description | None:
        """The peer's description."""
        return self.answer if self.offered_here else self.offer

    @property
    def payload_types_differ(self) -> bool:
        """Whether the peer sends, and nothing of the payload types that were agreed on."""
        return not self.packets_received and self.dropped.get("payload_type", 0) >= _STRANGERS

    @property
    def theirs_in_use(self) -> tuple[KeyLine, ...]:
        """The peer's a=crypto lines of the suite in use."""
        in_use = suite_profile(self.suite or "")
        if self.keying != "sdes" or self.theirs is None or in_use is None:
            return ()
        return tuple(key for key in self.theirs.keys if suite_profile(key.suite) is in_use)

    @property
    def arrived(self) -> int:
        """Datagrams that came to the media ports, accepted or not."""
        return self.packets_received + self.rtcp_received + sum(self.dropped.values())
