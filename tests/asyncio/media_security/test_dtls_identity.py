"""Which certificates a call takes: fingerprints that do not fit, in every role, and those that do.

The peer completes each handshake, whatever its description says, and sends media at once: none of
it may be heard, and none may leave here, before its certificate was found to be the one named.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from callmeter.config import MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy
from callmeter.errors import (
    CallmeterError,
    DtlsHandshakeFailed,
    FingerprintMismatch,
    SrtpRequired,
)

PATIENCE = 60
HEARD = 3
HELD_UP_S = 0.5
MISMATCH = "remote certificate does not match fingerprint"
WEAK = f"{MISMATCH}: sha-256, sha-384 or sha-512 is needed, given is "
NO_KEY = "has no a=fingerprint, and the SRTP policy is Required"
MEDIA = MediaConfig(srtp=SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED))


def random_digest(octets):
    return os.urandom(octets).hex(":").upper()


def line(value):
    return f"a=fingerprint:{value}"


REFUSED = {
    "no digest of anybody": (
        lambda own, _other, _ours: [line(f"sha-256 {random_digest(32)}")],
        FingerprintMismatch,
        MISMATCH,
    ),
    "the digest of another certificate": (
        lambda own, other, _ours: [line(other.fingerprint())],
        FingerprintMismatch,
        MISMATCH,
    ),
    "a digest that was cut": (
        lambda own, _other, _ours: [line(own.fingerprint()[:-3])],
        SrtpRequired,
        NO_KEY,
    ),
    "sha-1 alone": (
        lambda own, _other, _ours: [line(own.fingerprint("sha-1"))],
        FingerprintMismatch,
        WEAK + "sha-1",
    ),
    "md5 alone": (
        lambda own, _other, _ours: [line(own.fingerprint("md5"))],
        FingerprintMismatch,
        WEAK + "md5",
    ),
    "an unknown hash alone": (
        lambda own, _other, _ours: [line(f"sha3-256 {random_digest(32)}")],
        FingerprintMismatch,
        WEAK + "sha3-256",
    ),
    "one of two wrong": (
        lambda own, other, _ours: [line(own.fingerprint()), line(other.fingerprint())],
        FingerprintMismatch,
        MISMATCH,
    ),
    "sha-256 right and sha-512 wrong": (
        lambda own, other, _ours: [line(own.fingerprint()), line(other.fingerprint("sha-512"))],
        FingerprintMismatch,
        MISMATCH,
    ),
    "none": (lambda *_: [], SrtpRequired, NO_KEY),
    "the one of this end sent back": (
        lambda _own, _other, ours: [line(ours)],
        FingerprintMismatch,
        MISMATCH,
    ),
    "right for the session and wrong for the stream": (
        lambda own, other, _ours: [line(own.fingerprint()), "m", line(other.fingerprint())],
        FingerprintMismatch,
        MISMATCH,
    ),
}
"""What the description says; before `"m"` for the session, else for the stream."""

ACCEPTED = {
    "sha-256": lambda own, _: [line(own.fingerprint())],
    "sha-384": lambda own, _: [line(own.fingerprint("sha-384"))],
    "sha-512": lambda own, _: [line(own.fingerprint("sha-512"))],
    "letters of odd case": lambda own, _: [line("ShA-256 " + own.digest().swapcase())],
    "for the session": lambda own, _: [line(own.fingerprint()), "m"],
    "wrong for the session and right for the stream": lambda own, other: [
        line(other.fingerprint()), "m", line(own.fingerprint()),
    ],
    "three of one certificate": lambda own, _: [
        line(own.fingerprint(name)) for name in ("sha-256", "sha-384", "sha-512")
    ],
    "sha-1 beside sha-256": lambda own, _: [
        line(own.fingerprint("sha-1")), line(own.fingerprint()),
    ],
    "sha-1 counts for nothing": lambda own, other: [
        line(other.fingerprint("sha-1")), line(own.fingerprint()),
    ],
    "an unknown hash beside sha-256": lambda own, _: [
        line(f"sha3-256 {random_digest(32)}"), line(own.fingerprint()),
    ],
}  # fmt: skip


class Call:
    """A call whose peer shows a certificate and names what it is told to name.

    Attributes:
        error: What this end raised, or None.
        report: Of this end.
        heard_from: How many datagrams the peer had when its handshake was done.
    """

    def __init__(self, peer, endpoint, lines, setup):
        self.peer, self.endpoint = peer, endpoint
        at_session = lines[: lines.index("m")] if "m" in lines else []
        self.at_session = [*at_session]
        self.at_stream = lines[lines.index("m") + 1 :] if "m" in lines else lines
        self.setup = setup
        self.error = None
        self.report = None

    def description(self):
        lines = ["a=rtcp-mux", f"a=setup:{self.setup}", *self.at_stream]
        text = self.peer.describe("UDP/TLS/RTP/SAVP", *lines)
        session = "".join(f"{each}\r\n" for each in self.at_session)
        return text.replace("t=0 0\r\n", f"t=0 0\r\n{session}")

    def begin(self):
        """The peer's part of the handshake; it has media on its way as soon as it has keys."""
        self.peer.rtp.on_keys = lambda: self.peer.send_media(5)
        role = "client" if self.setup == "active" else "server"
        shown = self.peer.certificate if self.peer.shows_certificate else None
        self.peer.rtp.begin_dtls(shown, role)

    async def offered_by_peer(self):
        peer = self.peer
        peer.request("INVITE", self.endpoint, self.description())
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(self._answer())
            response = await peer.final()
            peer.request("ACK", self.endpoint)
            if response.status < 300:
                self.begin()
            serving = tasks.create_task(peer.serve())
            await answering
            serving.cancel()

    async def _answer(self):
        incoming = await self.endpoint.next_call(PATIENCE)
        try:
            await incoming.answer()
        except CallmeterError as error:
            self.error = error
        else:
            await self.media_flows()
            await incoming.bye()
        await incoming.ended()
        self.report = incoming.report().to_dict()

    async def offered_by_us(self):
        peer = self.peer
        async with asyncio.TaskGroup() as tasks:
            calling = tasks.create_task(self._call())
            invite = await peer.invited()
            if self.setup == "passive":
                self.begin()
            peer.respond(invite, 200, self.description())
            if self.setup == "active":
                self.begin()
            serving = tasks.create_task(peer.serve())
            await calling
            serving.cancel()

    async def _call(self):
        call = await self.endpoint.invite(self.peer.uri)
        try:
            await call.answered(timeout=PATIENCE)
        except CallmeterError as error:
            self.error = error
        else:
            await self.media_flows()
            await call.bye()
        await call.ended()
        self.report = call.report().to_dict()

    async def media_flows(self):
        async with asyncio.timeout(PATIENCE):
            while len(self.peer.rtp.of_kind("rtp")) < HEARD:  # noqa: ASYNC110  no event
                await asyncio.sleep(0.01)

    def media(self):
        self.peer.drain()
        return self.peer.media()


@pytest.fixture
def place(make_peer, make_endpoint, stack, certificates):
    """Makes one call and waits until nothing of it is left."""

    async def make(lines, setup, offerer, peer=None):
        endpoint = await make_endpoint("alice", media=MEDIA)
        ours = str(endpoint._media._certificate(endpoint.config.media.srtp.dtls).fingerprint())
        call = Call(peer or make_peer(), endpoint, lines(*certificates, ours), setup)
        await getattr(call, f"offered_by_{offerer}")()
        async with asyncio.timeout(PATIENCE):
            while stack.media.streams:  # noqa: ASYNC110  there is no event
                await asyncio.sleep(0.01)
        return call

    return make


@pytest.mark.parametrize("offerer", ["us", "peer"])
@pytest.mark.parametrize("setup", ["active", "passive"])
@pytest.mark.parametrize("row", REFUSED)
async def test_a_fingerprint_that_does_not_fit_is_refused_before_any_media(
    place, row, setup, offerer
):
    lines, kind, text = REFUSED[row]
    call = await place(lines, setup, offerer)
    assert type(call.error) is kind
    assert text in str(call.error)
    assert call.media() == []
    assert call.report["media"] == []
    assert call.report["outcome"] == "NEGOTIATION_FAILED"
    ended_by = [] if call.peer.status == 488 else ["BYE"]
    # A busy machine may make us send the INVITE again.
    assert [each for each in call.peer.requests if each not in {"ACK", "INVITE"}] == ended_by
    handshake = call.peer.rtp.dtls
    if kind is FingerprintMismatch:
        assert handshake.keys, "the peer had its keys and sent media under them"
        assert call.error.evidence["peer"] == call.error.evidence["source"]


@pytest.mark.parametrize("offerer", ["us", "peer"])
@pytest.mark.parametrize("setup", ["active", "passive"])
@pytest.mark.parametrize("row", ACCEPTED)
async def test_a_fingerprint_that_fits_is_taken_and_media_comes_after_it(
    place, standstill, row, setup, offerer
):
    call = await place(lambda own, other, _: ACCEPTED[row](own, other), setup, offerer)
    assert call.error is None
    media = call.media()
    assert len(media) > HEARD
    assert all(keys.authenticates(datagram) for datagram, keys in media)
    assert not [each for each in call.peer.rtp.before_keys if each != "dtls"]
    # What waited for longer than a second, while this process stood still, belongs to no call.
    if standstill.seconds < HELD_UP_S:
        assert call.report["media"][0]["receive"]["packets_received"] == 5
    assert call.report["media"][0]["receive"]["srtp_decrypt_failures"] == 0
    assert call.report["counters"]["dtls_rehandshakes"] == 0


async def reinvited(call, fingerprint):
    """The peer offers again under another fingerprint, and begins another handshake."""
    peer = call.peer
    port = peer.rtp
    former = port.secrets
    call.at_stream = [line(fingerprint)]
    peer.request("INVITE", call.endpoint, call.description())
    response = await peer.final()
    peer.request("ACK", call.endpoint)
    assert response.status == 200
    port.on_keys = lambda: None
    port.begin_dtls(peer.certificate, "client" if call.setup == "active" else "server")
    async with asyncio.timeout(PATIENCE):
        while port.dtls.keys is None:  # noqa: ASYNC110  there is no event
            await asyncio.sleep(0.01)
    return former, port.dtls.keys


@pytest.mark.parametrize("setup", ["active", "passive"])
@pytest.mark.parametrize("fits", [False, True])
async def test_a_new_fingerprint_in_the_call_needs_a_handshake_that_fits_it(
    make_peer, make_endpoint, certificates, setup, fits
):
    endpoint = await make_endpoint("alice", media=MEDIA)
    peer = make_peer()
    call = Call(peer, endpoint, [line(certificates[0].fingerprint())], setup)
    peer.request("INVITE", endpoint, call.description())
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(endpoint.next_call(PATIENCE))
        incoming = await answering
        answering = tasks.create_task(incoming.answer())
        await peer.final()
        peer.request("ACK", endpoint)
        call.begin()
        await answering
        await call.media_flows()
        if fits:
            peer.certificate = certificates[1]
        former, later = await reinvited(call, certificates[1].fingerprint())
        async with asyncio.timeout(PATIENCE):
            while not (incoming.media.warnings or incoming.media.rehandshakes):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        peer.drain()
        before = peer.rtp.of_kind("rtp", "rtcp")
        peer.rtp.forget()
        await call.media_flows()
        serving = tasks.create_task(peer.serve())
        await incoming.bye()
        await incoming.ended()
        serving.cancel()
    peer.drain()
    after = peer.rtp.of_kind("rtp", "rtcp")
    # Packets may be among those before that left right after the change.
    good = (former, later) if fits else (former,)
    assert all(any(keys.authenticates(datagram) for keys in good) for datagram in before)
    assert all(good[-1].authenticates(datagram) for datagram in after)
    report = incoming.report().to_dict()
    assert report["counters"]["dtls_rehandshakes"] == fits
    assert report["outcome"] == ("SUCCESS" if fits else "COMPLETED_WITH_WARNINGS")
    assert fits or MISMATCH in incoming.media.warnings[0]


@pytest.mark.parametrize("offerer", ["us", "peer"])
async def test_a_client_without_a_certificate_is_refused(place, make_peer, offerer):
    peer = make_peer()
    peer.shows_certificate = False
    call = await place(lambda own, *_: [line(own.fingerprint())], "active", offerer, peer)
    assert isinstance(call.error, DtlsHandshakeFailed)
    assert "peer sent no certificate" in str(call.error)
    assert call.media() == []
