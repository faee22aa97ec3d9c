"""TLS on octets that somebody else carries (RFC 3261 section 26.2.1, RFC 5922, RFC 8446).

`ssl.SSLObject` on memory buffers, without a socket: it costs tens of KiB a connection where
asyncio's own TLS costs hundreds.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Final

from callmeter.config import TlsVerify
from callmeter.errors import FlowLost
from callmeter.transport.base import Received
from callmeter.transport.identity import Identities, match_identity, mismatch, server_name
from callmeter.transport.tls_failure import client_failure, server_failure, tls_error

if TYPE_CHECKING:
    from callmeter.errors import TlsError, TransportError
    from callmeter.transport.identity import Match
    from callmeter.transport.tls_settings import TlsSettings

__all__ = ["TlsLayer"]

SLICE: Final = 16_384
"""Octets given to OpenSSL at once: its memory buffers grow with them, and never shrink."""
ALERT, HANDSHAKE = 21, 22
"""Content types a conversation may begin with (RFC 8446 section 5.1)."""
HEAD: Final = 3
"""Octets of a record's content type and version."""
TLS_1_2: Final = b"\x03\x03"
UNVERIFIED: Final = "the server certificate was not verified (TlsVerify.SKIP)"


class TlsLayer:
    """The TLS of one connection; a `ByteLayer`.

    Made by `TlsLayer.client` or `TlsLayer.server`. No octet of SIP is let through before the
    peer's certificate has been verified and names the peer.

    Attributes:
        established: Whether the handshake is over and the peer is who it should be.
        keeps_messages: TLS carries a stream.
        verified: Whether the peer proved who it is.
        match: How the server's certificate named it, or None.
        warnings: What is not as it should be, in words.
    """

    __slots__ = (
        "_broken",
        "_confirmed",
        "_destination",
        "_head",
        "_incoming",
        "_name",
        "_object",
        "_outgoing",
        "_peer_certificate",
        "_settings",
        "established",
        "keeps_messages",
        "match",
        "verified",
        "warnings",
    )

    def __init__(
        self, settings: TlsSettings, context: ssl.SSLContext, name: str | None, destination: str
    ) -> None:
        self._settings = settings
        self._name = name
        self._destination = destination
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=name is None,
            server_hostname=None if name is None else server_name(name),
        )
        self._broken = self._confirmed = False
        self._head = b""
        self._peer_certificate: bytes | None = None
        self.established = False
        self.keeps_messages = False
        self.verified = False
        self.match: Match | None = None
        self.warnings: tuple[str, ...] = ()

    @classmethod
    def client(cls, settings: TlsSettings, name: str, *, destination: str = "") -> TlsLayer:
        """The side that opens the connection.

        Args:
            settings: The account's.
            name: Domain or IP address that was asked for, before any DNS: what the server's
                certificate has to name (RFC 5922 section 4).
            destination: The server, for messages.
        """
        return cls(settings, settings.client, name, destination)

    @classmethod
    def server(cls, settings: TlsSettings, *, destination: str = "") -> TlsLayer:
        """The side that waits.

        Raises:
            ConfigurationError: The settings hold no certificate.
        """
        return cls(settings, settings.server, None, destination)

    # what it is

    @property
    def version(self) -> str | None:
        """`"TLSv1.2"` or `"TLSv1.3"`; None before the handshake."""
        return self._object.version()

    @property
    def cipher(self) -> str | None:
        """The cipher suite; None before the handshake."""
        cipher = self._object.cipher()
        return cipher[0] if cipher is not None else None

    @property
    def confirmed(self) -> bool:
        """Whether the peer has taken our certificate, or does not ask for one.

        A TLS 1.3 server judges it when the client thinks that all is done; its first octets
        of SIP show that it did (RFC 8446 section 4.4.2.4).
        """
        return self._confirmed

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate in DER; None when it gave none."""
        return self._peer_certificate

    @property
    def peer_identities(self) -> tuple[str, ...]:
        """SIP domains of the peer's certificate (RFC 5922 section 7.1); see `verified`."""
        if self._peer_certificate is None:
            return ()
        try:
            return Identities.of(self._peer_certificate).sip
        except ValueError:
            return ()

    def vouches_for(self, name: str) -> bool:
        """Whether the peer has proved that it has this name (RFC 5922 section 7)."""
        if not self.verified:
            return False
        try:
            return self._match(name) is not None
        except ValueError:
            return False

    # ByteLayer

    def start(self) -> bytes:
        """The ClientHello; empty on the side that waits."""
        self._shake_hands()
        return self._outgoing.read()

    def receive(self, data: bytes) -> Received:
        """Take octets from the peer; none mean that it has closed the connection.

        Raises:
            TlsError: The handshake failed, or the server refused our certificate after it.
            FlowLost: TLS broke later.
        """
        if not data:
            return self._ended()
        if len(self._head) < HEAD:
            self._head += data[: HEAD - len(self._head)]
            if self._head[0] not in {ALERT, HANDSHAKE}:
                raise self._fail(tls_error("not_tls", "peer does not speak TLS", self._destination))
        read: list[bytes] = []
        closed = False
        for start in range(0, len(data), SLICE):
            self._incoming.write(data[start : start + SLICE])
            if not self.established:
                self._shake_hands()
            if self.established:
                closed = self._read(read)
            if closed:
                break
        return Received((b"".join(read),) if read else (), self._outgoing.read(), closed)

    def send(self, data: bytes) -> bytes:
        """Encrypt octets.

        Raises:
            FlowLost: TLS is broken.
        """
        sealed = []
        try:
            for start in range(0, len(data), SLICE):
                self._object.write(data[start : start + SLICE])
                sealed.append(self._outgoing.read())
        except ssl.SSLError as error:
            raise self._lost(error) from None
        return b"".join(sealed)

    def ping(self) -> bytes | None:
        """TLS has no keep-alive that peers support."""
        return None

    def close(self) -> bytes:
        """What is left to say: the alert of a failure, or close_notify."""
        if self.established and not self._broken:
            self._broken = True
            # It wants the peer's close_notify in return, which nobody waits for.
            with contextlib.suppress(ssl.SSLError):
                self._object.unwrap()
        return self._outgoing.read()

    def timed_out(self, text: str) -> TlsError:
        """The error of a handshake that took too long; `text` says how long."""
        return tls_error("timeout", text, self._destination)

    # the handshake

    def _shake_hands(self) -> None:
        """Go on as far as the octets at hand go; what to send waits in the outgoing buffer."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            raise self._fail(self._explain(error)) from None
        self._peer_certificate = self._object.getpeercert(binary_form=True) or None
        if self._name is None:
            self.verified = self._peer_certificate is not None
            self._confirmed = True
        else:
            self._identify(self._name)
            self._confirmed = self.version == "TLSv1.2"
        self.established = True

    def _identify(self, name: str) -> None:
        """Check that the certificate names the peer (RFC 5922 section 7)."""
        if self._settings.config.verify is TlsVerify.SKIP:
            self.warnings += (UNVERIFIED,)
            return
        certificate = self._peer_certificate or b""
        try:
            self.match = self._match(name)
        except ValueError:
            self.match = None
        if self.match is None:
            # The last flight is not sent: an impostor does not get to see our certificate.
            self._outgoing.read()
            raise self._fail(
                tls_error("name_mismatch", mismatch(certificate, name), self._destination)
            )
        self.verified = True
        if self.match.warning is not None:
            self.warnings += (self.match.warning,)

    def _match(self, name: str) -> Match | None:
        config = self._settings.config
        return match_identity(
            self._peer_certificate or b"",
            name,
            allow_common_name=config.verify is TlsVerify.CUSTOM,
            strict_wildcards=config.strict_wildcards,
        )

    # after it

    def _read(self, read: list[bytes]) -> bool:
        """Decrypt what there is; whether the peer has said goodbye."""
        while True:
            try:
                octets = self._object.read(SLICE)
            except ssl.SSLWantReadError:
                return False
            except ssl.SSLZeroReturnError:
                octets = b""
            except ssl.SSLError as error:
                if read:
                    # What came before the failure is still a message, maybe the reason.
                    self._broken = True
                    return True
                raise (
                    self._lost(error) if self._confirmed else self._fail(self._explain(error))
                ) from None
            if not octets:
                # close_notify: `ssl` tells of it by an error or, the first time, by no octets.
                if not self._confirmed:
                    raise self._fail(self._refused())
                return True
            read.append(octets)
            self._confirmed = True

    def _ended(self) -> Received:
        if self.established:
            if not self._confirmed and not self._broken:
                raise self._fail(self._refused())
            return Received(closed=True)
        if self._name is not None and not self._answered:
            raise self._fail(tls_error("not_tls", "peer does not speak TLS", self._destination))
        raise self._fail(tls_error("handshake", "peer closed the connection", self._destination))

    # failing

    @property
    def _answered(self) -> bool:
        """Whether the peer's hello has been understood."""
        return self._object.cipher() is not None

    def _explain(self, error: ssl.SSLError) -> TlsError:
        if self._name is None:
            return server_failure(error, answered=self._answered, destination=self._destination)
        return client_failure(
            error,
            answered=self._answered,
            old=self._head[1:] < TLS_1_2,
            has_certificate=self._settings.config.certificate is not None,
            destination=self._destination,
        )

    def _refused(self) -> TlsError:
        """The server went away before it said a word: it did not like our certificate."""
        text = "server closed the connection before its first answer"
        return tls_error("client_cert_rejected", f"bad certificate: {text}", self._destination)

    def _fail(self, error: TlsError) -> TlsError:
        self._broken = True
        return error

    def _lost(self, error: ssl.SSLError) -> TransportError:
        self._broken = True
        reason = (error.reason or "broken off").replace("_", " ").lower()
        return FlowLost(f"{self._destination}: TLS: {reason}", destination=self._destination)
