"""One DTLS-SRTP association: handshake, fingerprint check, keys (RFC 5763, RFC 5764, RFC 6347).

OpenSSL does the cryptography over memory buffers. Two things are done around it. Records in clear
that are plainly wrong never reach it (`dtls_records`). And flights are sent again by the clock
of the caller: OpenSSL's own clock is real, starts at a second and cannot be told otherwise, which
suits neither a lossy path nor virtual time. A flight is repeated octet by octet, except that
records in clear get fresh sequence numbers. What only OpenSSL can do, a Finished that is new to
the replay window of a peer, still comes by its clock: ask `next_deadline` after every call.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from OpenSSL import SSL

from callmeter.config import DEFAULT_SUITES
from callmeter.errors import (
    DtlsHandshakeFailed,
    DtlsTimeout,
    FingerprintMismatch,
    MediaSecurityError,
)
from callmeter.srtp import dtls_records
from callmeter.srtp.dtls_certificate import fingerprint_of
from callmeter.srtp.dtls_records import (
    ALERT,
    CHANGE_CIPHER_SPEC,
    CLIENT_HELLO,
    CLIENT_KEY_EXCHANGE,
    HANDSHAKE,
    Record,
)
from callmeter.srtp.protection_profiles import SUPPORTED, ProtectionProfile
from callmeter.srtp.sdes import MasterKey
from callmeter.srtp.server_flight import ServerFlight

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography import x509

    from callmeter.config import SrtpSuite
    from callmeter.sdp.attributes import Fingerprint
    from callmeter.srtp.dtls_certificate import DtlsCertificate, KeyLog

__all__ = ["DEFAULT_MTU", "DEFAULT_TIMEOUT", "DtlsAssociation", "DtlsKeys", "DtlsRole"]

DtlsRole = Literal["client", "server"]

DEFAULT_MTU: Final = 1200
"""Octets of UDP payload that pass nearly every path; longer ClientHellos break peers."""
DEFAULT_TIMEOUT: Final = 30.0
FIRST_RESEND: Final = 0.25
"""RFC 6347 section 4.2.4.1 says a second, and less for what cannot wait, as media."""
LAST_RESEND: Final = 2.0
ALERT_GRACE: Final = 2.0
"""How long a fatal alert in clear waits to be contradicted: anybody can forge one."""
_REPEAT_GAP: Final = 0.05

_EXPORTER: Final = b"EXTRACTOR-dtls_srtp"
_READ_SIZE: Final = 65_536
_STRONG: Final = frozenset({"sha-256", "sha-384", "sha-512"})
_MISMATCH: Final = "remote certificate does not match fingerprint"

_TO_SERVER: Final = frozenset({CLIENT_HELLO, 11, 15, CLIENT_KEY_EXCHANGE})
_TO_CLIENT: Final = frozenset({2, 3, 4, 11, 12, 13, 14})

_REASONS: Final = {
    "no shared cipher": "no cipher suite in common",
    "peer did not return a certificate": "peer sent no certificate",
    "unsupported protocol": "peer does not speak DTLS 1.2",
    "wrong version number": "peer does not speak DTLS 1.2",
    "no suitable signature algorithm": "no signature algorithm in common",
    "no shared signature algorithms": "no signature algorithm in common",
    "no shared group": "no elliptic curve in common",
    "bad signature": "peer does not have the key of its certificate",
    "bad srtp protection profile list": "peer sent a malformed use_srtp extension",
    "bad srtp mki value": "peer wants an MKI in use_srtp",
    "decryption failed or bad record mac": "a record was altered on the way",
    "digest check failed": "the handshake was altered on the way",
}


@dataclass(frozen=True, slots=True)
class DtlsKeys:
    """What a verified handshake gives (RFC 5764 section 4.2).

    Attributes:
        profile: The protection profile agreed on.
        send: Key for what this end sends.
        receive: Key for what the peer sends.
    """

    profile: ProtectionProfile
    send: MasterKey
    receive: MasterKey


class DtlsAssociation:
    """One handshake with one peer, and what is left of it afterwards.

    Attributes:
        role: `"client"` sends the ClientHello.
        established: Whether the certificate was checked and `keys` are there.
        keys: None until then.
        failure: Why there will be no keys, or None.
        hello: Random octets of the ClientHello that a server answers, None before.
        answered: Whether the peer showed that it received something from here.
        peer_closed: Whether the peer sent close_notify.
        datagrams_sent: All, repetitions included.
        datagrams_received: All, useless ones included.
        last_flight_sent: Its messages in words, empty before the first.
        last_flight_received: The same for what came in.

    Args:
        certificate: Of this end.
        role: See above.
        fingerprints: Of the peer, from its session description. None when it is not known yet:
            the handshake runs, and waits for `expect()`.
        suites: SRTP suites in order of preference.
        mtu: Octets of UDP payload that a datagram may have.
        timeout: Seconds the handshake may take.
        renegotiation: Whether the peer may renegotiate (RFC 5746). `keys` are others once its
            certificate was checked again; `failure` beside `keys` says that it was the wrong one.
        key_log: Is given the secrets of the handshake, for a capture.

    Raises:
        LocalProtocolError: None of the suites can be agreed on by DTLS.
    """

    __slots__ = (
        "_alert",
        "_certificate",
        "_client",
        "_closed",
        "_complete",
        "_connection",
        "_fingerprints",
        "_finished",
        "_flight",
        "_give_up_at",
        "_interval",
        "_key_exchange_seen",
        "_mtu",
        "_openssl_at",
        "_renegotiation",
        "_repeat_from",
        "_resend_at",
        "_sequence",
        "_server_flight",
        "_timeout",
        "answered",
        "datagrams_received",
        "datagrams_sent",
        "failure",
        "hello",
        "keys",
        "last_flight_received",
        "last_flight_sent",
        "peer_closed",
        "role",
    )

    def __init__(
        self,
        certificate: DtlsCertificate,
        *,
        role: DtlsRole,
        fingerprints: Sequence[Fingerprint] | None,
        suites: Sequence[SrtpSuite] = DEFAULT_SUITES,
        mtu: int = DEFAULT_MTU,
        timeout: float = DEFAULT_TIMEOUT,
        renegotiation: bool = False,
        key_log: KeyLog | None = None,
    ) -> None:
        self.role = role
        self._client = role == "client"
        self._connection = certificate.connection(
            suites, client=self._client, mtu=mtu, renegotiation=renegotiation, key_log=key_log
        )
        self._renegotiation = renegotiation
        self._finished: tuple[bytes | None, bytes | None] = (None, None)
        self._fingerprints = None if fingerprints is None else tuple(fingerprints)
        self._mtu = mtu
        self._timeout = timeout
        self._certificate: x509.Certificate | None = None
        self._complete = False
        self._closed = False
        self._key_exchange_seen = False
        self._alert: tuple[str, float] | None = None
        self._sequence = 0
        self._server_flight = ServerFlight(self._names)
        self._flight: list[Record] = []
        self._interval = FIRST_RESEND
        self._resend_at: float | None = None
        self._openssl_at: float | None = None
        self._give_up_at: float | None = None
        self._repeat_from = 0.0
        self.keys: DtlsKeys | None = None
        self.failure: MediaSecurityError | None = None
        self.hello: bytes | None = None
        self.answered = False
        self.peer_closed = False
        self.datagrams_sent = 0
        self.datagrams_received = 0
        self.last_flight_sent = ""
        self.last_flight_received = ""

    def __repr__(self) -> str:
        state = "failed" if self.failure else "established" if self.established else "handshaking"
        return f"<DtlsAssociation {self.role} {state}>"

    @property
    def established(self) -> bool:
        """See the class."""
        return self.keys is not None

    @property
    def complete(self) -> bool:
        """Whether the handshake ended well; the certificate may still have to be checked."""
        return self._complete

    @property
    def broken_off(self) -> bool:
        """Whether it failed, or somebody in the peer's place said that it is over."""
        return self.failure is not None or self.peer_closed or self._alert is not None

    def remote_fingerprint(self, algorithm: str = "sha-256") -> Fingerprint | None:
        """Of the certificate the peer showed, None before it did."""
        return fingerprint_of(self._certificate, algorithm) if self._certificate else None

    def start(self, now: float) -> list[bytes]:
        """Start the clock and, as client, the handshake.

        Args:
            now: Seconds of the caller's clock, here and below.

        Returns:
            Datagrams to send.
        """
        self._give_up_at = now + self._timeout
        if not self._client:
            return []
        self._advance()
        return self._collect(now)

    def expect(self, fingerprints: Sequence[Fingerprint], now: float) -> list[bytes]:
        """Give the fingerprints of the peer, where construction did not know them or others.

        A certificate that did not match the former ones is compared again.

        Returns:
            Datagrams to send.
        """
        self._fingerprints = tuple(fingerprints)
        if isinstance(self.failure, FingerprintMismatch):
            self.failure = None
        if self._complete and not self.failure and not self.established:
            self._judge()
        return self._collect(now)

    def on_datagram(self, data: bytes, now: float) -> list[bytes]:
        """Take a datagram whose first octet is 20 to 63 (RFC 7983 section 7).

        Returns:
            Datagrams to send to where it came from.
        """
        self.datagrams_received += 1
        if self.failure or self._closed:
            return []
        received = list(dtls_records.records(data))
        self.last_flight_received = dtls_records.describe(received) or self.last_flight_received
        repeated = False
        for record in received:
            if self._repeats(record):
                repeated = True
            elif self._admits(record, now):
                self._show(record)
            if self.failure:
                break
        datagrams = self._collect(now)
        if repeated and not datagrams and now >= self._repeat_from:
            # The peer did not get the last flight (RFC 6347 section 4.2.4).
            self._repeat_from = now + _REPEAT_GAP
            datagrams = self._datagrams(self._flight)
        return datagrams

    def _show(self, record: Record) -> None:
        """Let OpenSSL see a record, or the flight that is whole with it."""
        shown = [record]
        if self._client and not record.epoch:
            hellos = (dtls_records.client_random(each.octets) for each in self._flight)
            shown = self._server_flight.add(record, next(filter(None, hellos), b""))
        for each in shown:
            if not self.failure:
                self._connection.bio_write(each.octets)
                self._advance()

    def _names(self, certificate: bytes) -> bool:
        """Whether a certificate, in DER, is the one that the fingerprints name."""
        return any(
            hashlib.new(each.algorithm.replace("-", ""), certificate).digest() == each.digest
            for each in self._fingerprints or ()
            if each.algorithm in _STRONG
        )

    def hold_back(self) -> None:
        """Send the last flight again only when the peer repeats its own."""
        self._resend_at = None

    def on_deadline(self, now: float) -> list[bytes]:
        """Do what is due. Early or late calls do no harm.

        Returns:
            Datagrams to send.
        """
        if self.failure or self._closed:
            return []
        if not self._complete and self._give_up_at is not None and now >= self._give_up_at:
            self._fail(DtlsTimeout, f"no DTLS handshake within {self._timeout:g} s")
        elif self._alert and now >= self._alert[1]:
            alert = self._alert[0]
            self._fail(DtlsHandshakeFailed, f"peer sent alert {alert}", alert=alert)
        if self.failure:
            return []
        datagrams = []
        if self._openssl_at is not None and now >= self._openssl_at:
            datagrams = self._openssl_timeout(now)
            if self.failure:
                return []
        if self._resend_at is not None and now >= self._resend_at:
            self._interval = min(2 * self._interval, LAST_RESEND)
            self._resend_at = now + self._interval
            datagrams = datagrams or self._datagrams(self._flight)
        return datagrams

    def next_deadline(self) -> float | None:
        """When `on_deadline` has something to do, None when never."""
        if self.failure or self._closed:
            return None
        give_up_at = None if self._complete else self._give_up_at
        alert_at = self._alert[1] if self._alert else None
        due = (give_up_at, alert_at, self._resend_at, self._openssl_at)
        return min((each for each in due if each is not None), default=None)

    def close(self) -> list[bytes]:
        """End it; nothing is taken in or sent by itself afterwards.

        Returns:
            The close_notify, when there is a peer to read it.
        """
        if self._closed or self.failure or not self._complete:
            self._closed = True
            return []
        self._closed = True
        return self._datagrams(self._close_notify())

    def farewell(self) -> list[bytes]:
        """What tells the peer about the failure: an alert, or close_notify.

        It is not among what the other methods return: a forger may have provoked the failure,
        and the peer, who would read it, may be in the middle of a good handshake.
        """
        if self._closed or not self.failure:
            return []
        self._closed = True
        if self._complete:
            # With the last flight before it: without that the peer could not read it.
            return self._datagrams(self._close_notify())
        return self._datagrams(each for each in self._drain() if each.content == ALERT)

    def evidence(self) -> dict[str, Any]:
        """What happened so far, for errors and reports; no key material."""
        return {
            "role": self.role,
            "datagrams_sent": self.datagrams_sent,
            "datagrams_received": self.datagrams_received,
            "last_flight_sent": self.last_flight_sent,
            "last_flight_received": self.last_flight_received,
        }

    def _repeats(self, record: Record) -> bool:
        """Whether a client sends what this server answered already."""
        if self._client or record.epoch or record.content != HANDSHAKE or not self._flight:
            return False
        kinds = {each.kind for each in dtls_records.fragments(record)}
        if self._complete:
            return bool(kinds & _TO_SERVER)
        return CLIENT_HELLO in kinds and dtls_records.client_random(record.octets) == self.hello

    def _admits(self, record: Record, now: float) -> bool:
        """Whether OpenSSL may see a record: not when it could only do harm."""
        if record.epoch == 0 and self._complete:
            return False
        if record.epoch and self._complete and self._renegotiation:
            return record.content in {HANDSHAKE, ALERT, CHANGE_CIPHER_SPEC}
        if record.epoch:
            # Application data is not part of DTLS-SRTP, and nothing is known of later epochs.
            return record.epoch == 1 and record.content in {HANDSHAKE, ALERT}
        if record.content == HANDSHAKE:
            return self._admits_messages(record)
        if record.content == CHANGE_CIPHER_SPEC:
            # Too early it would be taken for the peer's, and the true one for a repetition.
            return self._key_exchange_seen and record.body == b"\x01"
        if (name := dtls_records.alert_name(record)) and not self._alert:
            self._alert = (name, now + ALERT_GRACE)
        return False

    def _admits_messages(self, record: Record) -> bool:
        messages = dtls_records.fragments(record)
        kinds = {each.kind for each in messages}
        if not kinds or not kinds <= (_TO_CLIENT if self._client else _TO_SERVER):
            return False
        if self._client:
            return True
        if CLIENT_HELLO in kinds:
            if messages[0].sequence:
                return False
            random = dtls_records.client_random(record.octets)
            if random is not None and self.hello not in {None, random}:
                return False
            self.hello = self.hello or random
        elif self.hello is None:
            return False
        self._key_exchange_seen |= CLIENT_KEY_EXCHANGE in kinds
        return True

    def _advance(self) -> None:
        """Let OpenSSL work on what it was given."""
        try:
            if self._complete:
                self._connection.recv(_READ_SIZE)
            else:
                self._connection.do_handshake()
                self._complete = True
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.peer_closed = True
        except SSL.Error as error:
            if not self._complete:
                self._fail(DtlsHandshakeFailed, _in_words(error))
            return
        if self._complete and self._ended():
            self._finish()

    def _ended(self) -> bool:
        """Whether a handshake ended since the last one: each end has sent another Finished."""
        own, theirs = self._connection.get_finished(), self._connection.get_peer_finished()
        if own == self._finished[0] or theirs == self._finished[1]:
            return False
        self._finished = own, theirs
        return True

    def _finish(self) -> None:
        """The handshake ended well: who is it, and what was agreed on?"""
        self._alert = None
        self.answered = True
        try:
            self._certificate = self._connection.get_peer_certificate(as_cryptography=True)
        except ValueError:
            # OpenSSL takes certificates that `cryptography` does not.
            self._fail(DtlsHandshakeFailed, "peer sent a certificate that cannot be parsed")
            return
        if self._certificate is None:
            self._fail(DtlsHandshakeFailed, "peer sent no certificate")
        elif not self._connection.get_selected_srtp_profile():
            self._fail(DtlsHandshakeFailed, "no SRTP protection profile (use_srtp) in common")
        elif self._fingerprints is not None:
            self._judge()

    def _judge(self) -> None:
        """Compare the certificate with every fingerprint that is understood, then take the keys.

        SHA-1 and MD5 count for nothing (RFC 8122 section 5 forbids to rely on them).
        """
        expected = self._fingerprints or ()
        pairs = [
            (each, shown)
            for each in expected
            if (shown := self.remote_fingerprint(each.algorithm)) is not None
        ]
        # No `all()`: the time taken does not tell which one differs.
        matching = sum(hmac.compare_digest(each.digest, shown.digest) for each, shown in pairs)
        message = _MISMATCH
        if not any(each.algorithm in _STRONG for each in expected):
            names = ", ".join(sorted({each.algorithm for each in expected})) or "none"
            message += f": sha-256, sha-384 or sha-512 is needed, given is {names}"
        elif matching == len(pairs):
            self.keys = self._export()
            return
        self._fail(
            FingerprintMismatch,
            message,
            expected=[str(each) for each in expected],
            received=sorted({str(self.remote_fingerprint()), *(str(shown) for _, shown in pairs)}),
        )

    def _export(self) -> DtlsKeys:
        name = self._connection.get_selected_srtp_profile().decode()
        profile = next(each for each in SUPPORTED if each.openssl_name == name)
        key, salt = profile.key_length, profile.salt_length
        secret = self._connection.export_keying_material(_EXPORTER, 2 * (key + salt))
        salts = secret[2 * key :]
        client = MasterKey(secret[:key] + salts[:salt])
        server = MasterKey(secret[key : 2 * key] + salts[salt:])
        if self._client:
            return DtlsKeys(profile, client, server)
        return DtlsKeys(profile, server, client)

    def _fail(self, kind: type[MediaSecurityError], message: str, **evidence: Any) -> None:
        self.failure = kind(message, evidence={**self.evidence(), **evidence})

    def _close_notify(self) -> list[Record]:
        try:
            self._connection.shutdown()
        except SSL.Error:
            return []
        return self._drain()

    def _openssl_timeout(self, now: float) -> list[bytes]:
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error as error:
            self._fail(DtlsHandshakeFailed, _in_words(error))
        return self._collect(now, repeated=True)

    def _collect(self, now: float, *, repeated: bool = False) -> list[bytes]:
        """Take what OpenSSL wrote, remember a flight, and look at the clocks."""
        written = [] if self.failure else self._drain()
        left = None if self.failure else self._connection.DTLSv1_get_timeout()
        self._openssl_at = None if left is None else now + left
        # What is renegotiated is encrypted from the first record, and only OpenSSL sends it again.
        if any(each.content == HANDSHAKE for each in written) and not written[0].epoch:
            self.answered |= bool(self._flight) and not repeated
            self._flight = written
            self.last_flight_sent = dtls_records.describe(written)
            if not repeated:
                self._interval = FIRST_RESEND
                self._alert = None
                self._resend_at = now + self._interval
            if self._client:
                self._key_exchange_seen |= any(
                    each.content == CHANGE_CIPHER_SPEC for each in written
                )
        if self._complete:
            self._resend_at = None
        return self._datagrams(written)

    def _drain(self) -> list[Record]:
        written = bytearray()
        while True:
            try:
                written += self._connection.bio_read(_READ_SIZE)
            except SSL.WantReadError:
                return list(dtls_records.records(bytes(written)))

    def _datagrams(self, flight: Iterable[Record]) -> list[bytes]:
        octets = []
        for record in flight:
            if record.epoch:
                octets.append(record.octets)
            else:
                octets.append(record.renumbered(self._sequence))
                self._sequence += 1
        datagrams = dtls_records.pack(octets, self._mtu)
        self.datagrams_sent += len(datagrams)
        return datagrams


def _in_words(error: SSL.Error) -> str:
    """Say what OpenSSL says, for people who look at a call and not at OpenSSL."""
    stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
    reasons = [str(each[-1]) for each in stack] or ["the handshake broke off"]
    for reason in reasons:
        if reason in _REASONS:
            return _REASONS[reason]
        _, alert, name = reason.rpartition(" alert ")
        if alert:
            return f"peer sent alert {name.replace(' ', '_')}"
    return reasons[0]
