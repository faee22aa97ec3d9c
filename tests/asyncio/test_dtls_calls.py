"""Calls whose media is keyed by DTLS, or by what a dual offer led to, over loopback sockets."""

from __future__ import annotations

import asyncio
import gc
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from callmeter import events
from callmeter.config import MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy, SrtpSuite
from callmeter.errors import (
    CallCancelled,
    CallmeterError,
    DtlsHandshakeFailed,
    DtlsTimeout,
    FingerprintMismatch,
    NoCommonSuite,
    ProfileMismatch,
    SrtpRequired,
)
from callmeter.media import dtls_keying
from callmeter.media.analysis import recorded_frequency
from callmeter.media.sources import Tone
from callmeter.media_keys import MediaKeys
from callmeter.media_session import MediaSession
from callmeter.metrics.phases import Phase
from callmeter.rtp.demux import PacketKind, classify
from callmeter.sip.message import Request
from callmeter.srtp.dtls_certificate import DtlsCertificate
from callmeter.srtp.dtls_endpoint import DtlsTransport

PATIENCE = 20
SDES, DTLS, DUAL = SrtpMethod.SDES, SrtpMethod.DTLS, SrtpMethod.DUAL
DISABLED, OFFERED, REQUIRED = SrtpPolicy.DISABLED, SrtpPolicy.OFFERED, SrtpPolicy.REQUIRED
DTLS_SUITES = [
    SrtpSuite.AES_CM_128_HMAC_SHA1_80,
    SrtpSuite.AES_CM_128_HMAC_SHA1_32,
    SrtpSuite.AEAD_AES_128_GCM,
    SrtpSuite.AEAD_AES_256_GCM,
]


def certificate_of(endpoint):
    """The one its calls have had, None before any."""
    return next(iter(endpoint._media._certificates.values()), None)


def media(method=DTLS, policy=REQUIRED, **settings):
    suites = settings.pop("suites", SrtpConfig().suites)
    return MediaConfig(srtp=SrtpConfig(method=method, policy=policy, suites=suites), **settings)


@pytest.fixture
def pair(make_endpoint):
    async def make(ours=None, theirs=None):
        ours = ours or media()
        return await make_endpoint("alice", media=ours), await make_endpoint(
            "bob", media=theirs or ours
        )

    return make


async def answer_and_echo(endpoint):
    incoming = await endpoint.next_call(PATIENCE)
    await incoming.answer()
    incoming.media.echo()
    await incoming.ended()
    return incoming


async def answer_and_wait(endpoint):
    incoming = await endpoint.next_call(PATIENCE)
    await incoming.answer()
    await incoming.ended()
    return incoming


async def answer_or_fail(endpoint):
    """The call that came in and what `answer()` raised."""
    incoming = await endpoint.next_call(PATIENCE)
    try:
        await incoming.answer()
    except CallmeterError as error:
        return incoming, error
    finally:
        async with asyncio.timeout(PATIENCE):
            await incoming.ended()
    return incoming, None


async def both_keyed(bob):
    """A caller that leaves at once may be gone before the callee has the last flight."""
    async with asyncio.timeout(PATIENCE):
        while not bob.calls or bob.calls[0].phase is not Phase.INCALL:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def wait_for_event(call, kind):
    async with asyncio.timeout(PATIENCE):
        async for event in call.events():
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the call ended without {kind.__name__}")


def stream_of(end):
    return end.report().to_dict()["media"][0]


def sent_by(end):
    sent = [message.message for message in end.messages if message.direction == "sent"]
    return [message.method for message in sent if isinstance(message, Request)]


@pytest.fixture
def sent_datagrams(stack, monkeypatch):
    """Every datagram that left a media socket of the stack: its local port and its kind."""
    seen = []
    backend = stack.media.backend
    one, batch = backend.send_one, backend.send

    def send_one(outlet, datagram, destination):
        seen.append(classify(bytes(datagram)))
        return one(outlet, datagram, destination)

    def send(*arguments, **options):
        seen.append(PacketKind.RTP)
        return batch(*arguments, **options)

    monkeypatch.setattr(backend, "send_one", send_one)
    monkeypatch.setattr(backend, "send", send)
    return seen


# what is agreed on


@pytest.mark.parametrize(
    ("ours", "theirs", "keying"),
    [
        (SDES, SDES, "sdes"),
        (SDES, DUAL, "sdes"),
        (DTLS, DTLS, "dtls"),
        (DTLS, DUAL, "dtls"),
        (DUAL, SDES, "sdes"),
        (DUAL, DTLS, "dtls"),
        (DUAL, DUAL, "dtls"),
    ],
)
@pytest.mark.parametrize("policy", [OFFERED, REQUIRED])
async def test_the_keying_both_ends_know_is_taken_and_reported(pair, policy, ours, theirs, keying):
    alice, bob = await pair(media(ours, policy), media(theirs, policy))
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            assert call.media.secure
            tasks.create_task(call.media.play(Tone(440)))
            await wait_for_event(call, events.MediaStarted)
        incoming = await answering
    profile = "RTP/SAVP" if ours is SDES else "UDP/TLS/RTP/SAVP"
    for end in (call, incoming):
        stream = stream_of(end)
        assert (stream["keying"], stream["profile"]) == (keying, profile)
        assert stream["suite"] == "AES_CM_128_HMAC_SHA1_80"
        assert stream["receive"]["srtp_decrypt_failures"] == 0
        assert end.report().to_dict()["outcome"] == "SUCCESS"


@pytest.mark.parametrize(("ours", "theirs"), [(SDES, DTLS), (DTLS, SDES)])
@pytest.mark.parametrize("our_policy", [OFFERED, REQUIRED])
@pytest.mark.parametrize("their_policy", [OFFERED, REQUIRED])
async def test_methods_with_nothing_in_common_are_refused_at_both_ends(
    pair, our_policy, their_policy, ours, theirs
):
    alice, bob = await pair(media(ours, our_policy), media(theirs, their_policy))
    errors = []

    async def refuse():
        errors.append((await answer_or_fail(bob))[1])
        if our_policy is OFFERED:  # once more, in clear
            errors.append((await answer_or_fail(bob))[1])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(refuse())
        if our_policy is OFFERED and their_policy is OFFERED:
            async with alice.call(str(bob.contact)) as call:
                assert call.media.keying == "none"
            assert call.report().to_dict()["outcome"] == "COMPLETED_WITH_WARNINGS"
        else:
            with pytest.raises(NoCommonSuite) as caught:
                async with alice.call(str(bob.contact)):
                    pytest.fail("the call was answered")
            assert caught.value.report.to_dict()["final_status_code"] == 488
    assert isinstance(errors[0], SrtpRequired if their_policy is REQUIRED else NoCommonSuite)
    wanted = "a=crypto" if theirs is SDES else "a=fingerprint"
    assert their_policy is OFFERED or wanted in str(errors[0])


@pytest.mark.parametrize("method", [DTLS, DUAL])
@pytest.mark.parametrize(
    ("our_policy", "their_policy", "result", "theirs"),
    [
        (DISABLED, OFFERED, "none", None),
        (DISABLED, REQUIRED, NoCommonSuite, SrtpRequired),
        (OFFERED, DISABLED, "none", ProfileMismatch),
        (OFFERED, OFFERED, "dtls", None),
        (OFFERED, REQUIRED, "dtls", None),
        (REQUIRED, DISABLED, NoCommonSuite, ProfileMismatch),
        (REQUIRED, OFFERED, "dtls", None),
        (REQUIRED, REQUIRED, "dtls", None),
    ],
)
async def test_policies_meet(pair, method, our_policy, their_policy, result, theirs):
    alice, bob = await pair(media(method, our_policy), media(method, their_policy))
    ends = []

    async def answer():
        ends.append(await answer_or_fail(bob))
        if theirs is ProfileMismatch and result == "none":
            ends.append(await answer_or_fail(bob))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        if isinstance(result, str):
            async with alice.call(str(bob.contact)) as call:
                assert call.media.keying == result
                assert call.media.secure is (result == "dtls")
                await both_keyed(bob)
        else:
            with pytest.raises(CallmeterError) as caught:
                async with alice.call(str(bob.contact)):
                    pytest.fail("the call was answered")
            report = caught.value.report.to_dict()
            assert report["final_status_code"] == 488
            assert isinstance(caught.value, result) or our_policy is DISABLED
    error = ends[0][1]
    assert (None if error is None else type(error)) is theirs


@pytest.mark.parametrize("suite", DTLS_SUITES)
async def test_every_suite_of_dtls_carries_a_call(pair, tmp_path, suite):
    alice, bob = await pair(media(suites=(suite,)))
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            call.media.record(tmp_path / "heard.wav")
            await call.media.play(Tone(620), seconds=0.8)
        incoming = await answering
    assert recorded_frequency(tmp_path / "heard.wav") == pytest.approx(620, abs=5)
    for end in (call, incoming):
        assert (stream_of(end)["keying"], stream_of(end)["suite"]) == ("dtls", suite.value)
        assert stream_of(end)["receive"]["srtp_decrypt_failures"] == 0
        assert stream_of(end)["receive"]["packets_lost"] == 0


async def test_the_suite_that_both_know_is_taken(pair):
    gcm, cm = SrtpSuite.AEAD_AES_128_GCM, SrtpSuite.AES_CM_128_HMAC_SHA1_80
    alice, bob = await pair(media(suites=(gcm,)), media(suites=(cm, gcm)))
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_wait(bob))
        async with alice.call(str(bob.contact)) as call:
            assert call.media.suite == gcm.value
            await both_keyed(bob)
        incoming = await answering
    assert stream_of(incoming)["suite"] == gcm.value


@pytest.mark.parametrize("feedback", [False, True])
async def test_avpf_has_its_own_profile_under_dtls(pair, feedback):
    alice, bob = await pair(media(feedback=feedback))
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_wait(bob))
        async with alice.call(str(bob.contact)):
            await both_keyed(bob)
        incoming = await answering
    assert stream_of(incoming)["profile"] == "UDP/TLS/RTP/SAVP" + "F" * feedback
    assert stream_of(incoming)["feedback"] is feedback


@pytest.mark.parametrize(
    ("method", "rtcp_mux", "agreed"),
    [
        (DTLS, None, True),
        (DTLS, True, True),
        (DTLS, False, False),
        (SDES, None, False),
        (SDES, True, True),
        (SDES, False, False),
        (DUAL, None, True),
        (DUAL, False, False),
    ],
)
async def test_mux_is_its_own_setting_and_reports_flow_both_ways(
    pair, method, rtcp_mux, agreed, until
):
    alice, bob = await pair(media(method, rtcp_mux=rtcp_mux))
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            tasks.create_task(call.media.play(Tone(440)))
            peer = bob.calls[0]
            ends = (call.media, peer.media)
            await until(lambda: all(end.statistics().rtcp_packets_received for end in ends))
            await until(lambda: any(end.statistics().rtt_ms is not None for end in ends))
        incoming = await answering
    for end in (call, incoming):
        assert stream_of(end)["rtcp_mux"] is agreed
        assert stream_of(end)["receive"]["rtcp_packets_received"] >= 1
        assert stream_of(end)["send"]["rtcp_packets_sent"] >= 1
        assert "rtcp_authentication" not in end.media.statistics().dropped


async def test_a_peer_that_declines_mux_gets_an_association_for_its_rtcp(pair, monkeypatch, until):
    alice, bob = await pair()
    wants = property(lambda session: session.keys._certificate is certificate_of(alice))
    monkeypatch.setattr(MediaSession, "_wants_mux", wants)
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            tasks.create_task(call.media.play(Tone(440)))
            await both_keyed(bob)
            peer = bob.calls[0]
            ends = (call.media, peer.media)
            await until(lambda: all(end.statistics().rtcp_packets_received for end in ends))
            await call.hold()
            await call.resume()
            keys = [end.keys.dtls.rtcp_contexts for end in ends]
        incoming = await answering
    assert None not in keys
    for end in (call, incoming):
        assert stream_of(end)["rtcp_mux"] is False
        assert stream_of(end)["receive"]["rtcp_packets_received"] >= 1
        assert end.report().to_dict()["counters"]["dtls_rehandshakes"] == 0
        assert "rtcp_authentication" not in end.media.statistics().dropped


# during the call


@pytest.mark.parametrize("holder", ["caller", "callee"])
@pytest.mark.parametrize("method", [DTLS, DUAL])
async def test_hold_and_resume_keep_the_association_and_every_packet(pair, until, holder, method):
    alice, bob = await pair(media(method))
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            tasks.create_task(call.media.play(Tone(440)))
            await wait_for_event(call, events.MediaStarted)
            peer = bob.calls[0]
            who, other = (call, peer) if holder == "caller" else (peer, call)
            contexts = call.media.keys.send, call.media.keys.receive
            for _ in range(2):
                await who.hold()
                assert (who.media.direction, other.media.direction) == ("sendonly", "recvonly")
                await asyncio.sleep(0.1)
                await who.resume()
                assert call.media.direction == "sendrecv"
            assert (call.media.keys.send, call.media.keys.receive) == contexts
            before = call.media.statistics().receive.packets_received
            await until(lambda: call.media.statistics().receive.packets_received >= before + 20)
        incoming = await answering
    for end in (call, incoming):
        report = end.report().to_dict()
        assert report["counters"]["dtls_rehandshakes"] == 0
        assert report["counters"]["hold_count"] == 2
        assert stream_of(end)["receive"]["srtp_decrypt_failures"] == 0
        assert stream_of(end)["receive"]["packets_lost"] == 0
        assert end.media.keys.dtls._media.transport.statistics.discarded == 0


async def test_digits_arrive_once_each_under_dtls(pair):
    alice, bob = await pair()
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            await call.send_dtmf("19#*", duration_ms=100)
            async with asyncio.timeout(PATIENCE):
                async for event in bob.calls[0].events():
                    if isinstance(event, events.DtmfReceived) and event.digit == "*":
                        break
            await asyncio.sleep(0.2)  # for any that would come a second time
        incoming = await answering
    heard = [e.digit async for e in incoming.events() if isinstance(e, events.DtmfReceived)]
    assert "".join(heard) == "19#*"


async def test_hostile_dtls_on_the_media_port_leaves_the_call_untouched(pair, until):
    alice, bob = await pair()
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            await wait_for_event(call, events.Answered)
            host, _, port = call.media.local.rpartition(":")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
                for octets in (
                    b"\x15\xfe\xfd" + bytes(8) + b"\0\x02\x02\x28",
                    b"\x16" * 64,
                    b"\x17\xfe\xfd" + bytes(60),
                ):
                    attacker.sendto(octets, (host, int(port)))
                tasks.create_task(call.media.play(Tone(440)))
                await until(lambda: call.media.statistics().receive.packets_received >= 15)
        await answering
    assert call.report().to_dict()["outcome"] == "SUCCESS"
    assert call.report().to_dict()["counters"]["dtls_rehandshakes"] == 0


# the handshake


async def test_a_client_hello_that_overtakes_the_answer_is_not_lost(pair, monkeypatch, until):
    alice, bob = await pair()
    early = []
    accept = MediaSession.accept_answer

    def accept_late(self, body):
        early.append(self.keys.dtls._media.transport.statistics.datagrams_received)
        accept(self, body)
        early.append(self.keys_pending)

    monkeypatch.setattr(MediaSession, "accept_answer", accept_late)
    async with asyncio.TaskGroup() as tasks:
        incoming_task = tasks.create_task(bob.next_call(PATIENCE))
        call = await alice.invite(str(bob.contact))
        incoming = await incoming_task
        # The callee's handshake begins, and its 200 comes only later.
        answer = incoming.media.accept_offer(incoming.request.body)
        early_bird = call.media.keys.dtls._media.transport.statistics
        await until(lambda: early_bird.datagrams_received)
        incoming._run(incoming.server_session.accept(answer, bob.stack.now))
        async with asyncio.timeout(PATIENCE):
            await call.answered()
        assert call.media.suite == "AES_CM_128_HMAC_SHA1_80"
        await incoming.media.keyed()
        await call.bye()
    assert early[0] >= 1
    assert stream_of(call)["keying"] == "dtls"


@pytest.fixture
def wrong_fingerprint(monkeypatch):
    """Let one endpoint announce the fingerprint of a certificate it does not have."""

    def apply(endpoint):
        other = DtlsCertificate.generate(datetime.now(tz=UTC)).fingerprint()
        real = MediaKeys._own_fingerprints

        def own(self, *, rtcp_mux):
            found = real(self, rtcp_mux=rtcp_mux)
            return (other,) if self._certificate is certificate_of(endpoint) else found

        monkeypatch.setattr(MediaKeys, "_own_fingerprints", own)

    return apply


@pytest.mark.parametrize("method", [DTLS, DUAL])
@pytest.mark.parametrize("policy", [OFFERED, REQUIRED])
@pytest.mark.parametrize("liar", ["caller", "callee"])
async def test_a_wrong_fingerprint_ends_the_call_at_both_ends(
    pair, wrong_fingerprint, sent_datagrams, method, policy, liar
):
    alice, bob = await pair(media(method, policy))
    wrong_fingerprint(alice if liar == "caller" else bob)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_or_fail(bob))
        call = await alice.invite(str(bob.contact))
        error = None
        try:
            await call.answered()
        except CallmeterError as caught:
            error = caught
        await call.ended()
        incoming, refusal = await answering
    victim, failure = (incoming, refusal) if liar == "caller" else (call, error)
    assert isinstance(failure, FingerprintMismatch)
    assert "remote certificate does not match fingerprint" in str(failure)
    assert failure.evidence["peer"][0] == "127.0.0.1"
    report = failure.report.to_dict()
    assert report["outcome"] == "NEGOTIATION_FAILED"
    assert report["error"]["type"] == "FingerprintMismatch"
    # The end that was lied to starts no stream: nothing is sent and nothing delivered.
    assert report["media"] == []
    assert "BYE" in sent_by(victim)
    assert (call.over, incoming.over) == (True, True)
    assert PacketKind.DTLS in sent_datagrams
    assert (alice.calls, bob.calls) == ([], [])


async def test_no_media_octet_leaves_or_is_heard_before_the_fingerprint_is_checked(
    pair, wrong_fingerprint, sent_datagrams
):
    alice, bob = await pair()
    # Both ends are lied to: neither may send a packet.
    wrong_fingerprint(alice)
    wrong_fingerprint(bob)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_or_fail(bob))
        with pytest.raises(CallmeterError):
            async with alice.call(str(bob.contact)):
                pytest.fail("the call was answered")
        incoming, _ = await answering
    assert set(sent_datagrams) == {PacketKind.DTLS}
    assert incoming.report().to_dict()["media"] == []


@pytest.fixture
def impatient(monkeypatch):
    """Handshakes give up after a moment."""

    def apply(seconds):
        def build(certificate, **settings):
            return DtlsTransport(certificate, **settings | {"timeout": seconds})

        monkeypatch.setattr(dtls_keying, "DtlsTransport", build)

    return apply


def mute(monkeypatch, owner):
    """No DTLS datagram of this endpoint leaves it."""
    real = dtls_keying.DtlsSession

    def build(stream, transport, *told, **options):
        session = real(stream, transport, *told, **options)
        if transport._certificate is owner():
            session._port = Mute(stream)
        return session

    monkeypatch.setattr(dtls_keying, "DtlsSession", build)


class Mute:
    """A stream whose DTLS goes nowhere."""

    def __init__(self, stream):
        self._stream = stream

    def send_datagram(self, datagram, destination, *, rtcp):
        return bool(datagram and destination and not rtcp)


@pytest.mark.parametrize("silent", ["caller", "callee"])
async def test_a_handshake_nobody_answers_ends_both_ends_with_dtls_timeout(
    pair, impatient, monkeypatch, silent
):
    alice, bob = await pair()
    impatient(0.6)
    mute(monkeypatch, lambda: certificate_of(alice if silent == "caller" else bob))
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_or_fail(bob))
        call = await alice.invite(str(bob.contact))
        with pytest.raises(CallmeterError) as caught:
            await call.answered()
        await call.ended()
        incoming, refusal = await answering
    errors = [caught.value, refusal]
    timeouts = [error for error in errors if isinstance(error, DtlsTimeout)]
    assert timeouts
    assert "0.6 s" in str(timeouts[0])
    assert timeouts[0].report.to_dict()["error"]["type"] == "DtlsTimeout"
    assert timeouts[0].evidence["port_datagrams_sent"] >= 0
    assert (call.over, incoming.over) == (True, True)
    assert "BYE" in sent_by(call) + sent_by(incoming)


@pytest.fixture
def stalled(pair, monkeypatch):
    """A call that is answered, and whose handshake hangs."""

    async def make():
        alice, bob = await pair()
        mute(monkeypatch, lambda: certificate_of(bob))
        call = await alice.invite(str(bob.contact))
        incoming = await bob.next_call(PATIENCE)
        answering = asyncio.get_running_loop().create_task(incoming.answer())
        async with asyncio.timeout(PATIENCE):
            while call.phase is not Phase.NEGOTIATING or not incoming.session.answered:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return call, incoming, answering

    return make


@pytest.mark.parametrize("who", ["caller", "callee"])
async def test_a_bye_while_the_handshake_runs_ends_the_call_and_says_so(stalled, who, until):
    call, incoming, answering = await stalled()
    async with asyncio.timeout(PATIENCE):
        await until(lambda: call.media.keys_pending and incoming.media.keys_pending)
        await (call if who == "caller" else incoming).bye()
        await call.ended()
        await incoming.ended()
        with pytest.raises(CallmeterError) as theirs:
            await answering
        with pytest.raises(CallmeterError) as ours:
            await call.answered()
    gone, left = (ours.value, theirs.value) if who == "caller" else (theirs.value, ours.value)
    assert isinstance(gone, CallCancelled)
    assert isinstance(left, CallCancelled)
    assert left.report.to_dict()["outcome"] == "CALL_FAILED"
    for end in (call, incoming):
        assert end.report().to_dict()["media"] == []
        assert end.media.keys.dtls._media.transport.next_deadline() is None


async def test_a_bye_long_after_the_answer_means_that_the_handshake_failed(
    stalled, until, monkeypatch
):
    monkeypatch.setattr("callmeter.call.USUAL_HANDSHAKE", 0.05)
    call, incoming, answering = await stalled()
    async with asyncio.timeout(PATIENCE):
        await until(lambda: call.media.keys_pending and incoming.media.keys_pending)
        await asyncio.sleep(0.1)
        await call.bye()
        await incoming.ended()
        with pytest.raises(DtlsHandshakeFailed, match="after the answer"):
            await answering
    assert incoming.report().to_dict()["outcome"] == "NEGOTIATION_FAILED"


async def test_a_call_that_is_never_keyed_is_given_up_by_its_own_limit(stalled):
    call, incoming, answering = await stalled()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(DtlsTimeout, match="answered") as caught:
            await call.answered(timeout=0.2)
    assert caught.value.report.to_dict()["outcome"] == "TIMEOUT"
    async with asyncio.timeout(PATIENCE):
        await incoming.ended()
        await asyncio.wait({answering})
    assert call.over
    assert "BYE" in sent_by(call)


async def test_a_task_that_is_cancelled_while_the_handshake_runs_hangs_up(pair, monkeypatch):
    alice, bob = await pair()
    mute(monkeypatch, lambda: certificate_of(bob))

    async def call_for_ever():
        async with alice.call(str(bob.contact)):
            pytest.fail("the call was answered")

    calling = asyncio.get_running_loop().create_task(call_for_ever())
    incoming = await bob.next_call(PATIENCE)
    answering = asyncio.get_running_loop().create_task(incoming.answer())
    await asyncio.sleep(0.2)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    async with asyncio.timeout(PATIENCE):
        await incoming.ended()
        await asyncio.wait({answering})
    assert (alice.calls, bob.calls) == ([], [])


async def test_a_cancelled_ringing_call_closes_its_dtls(pair):
    alice, bob = await pair()
    call = await alice.invite(str(bob.contact))
    incoming = await bob.next_call(PATIENCE)
    incoming.ring()
    await wait_for_event(call, events.Ringing)
    await call.bye()
    async with asyncio.timeout(PATIENCE):
        await incoming.ended()
    with pytest.raises(CallCancelled):
        await incoming.answer()
    assert call.media.keys.dtls._media.transport.next_deadline() is None


# afterwards


def descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.slow
async def test_forty_dtls_calls_leave_no_task_socket_timer_or_association_behind(
    brisk_stack, make_endpoint
):
    alice = await make_endpoint("alice", media=media(DUAL), on=brisk_stack)
    bob = await make_endpoint("bob", media=media(DTLS), on=brisk_stack)
    loop = asyncio.get_running_loop()

    async def settle():
        async with asyncio.timeout(PATIENCE):
            while len(brisk_stack.transactions) or brisk_stack.media.streams:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        gc.collect()  # What earlier tests left is no business of a count.

    async def one_call():
        async with alice.call(str(bob.contact)) as call:
            await call.media.play(Tone(440), seconds=0.05)
        return call.report().to_dict()["media"][0]["keying"]

    def timers():
        return [handle for handle in loop._scheduled if not handle.cancelled()]

    async def serve():
        async with asyncio.TaskGroup() as answering:
            async for incoming in bob.incoming():
                answering.create_task(answer_it(incoming))

    async def answer_it(incoming):
        await incoming.answer()
        await incoming.ended()

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve())
        await one_call()
        await settle()
        before = (len(asyncio.all_tasks()), descriptors())
        dtls_timers = [t for t in timers() if "DtlsSession" in repr(t)]
        results = []
        for _ in range(4):
            results += await asyncio.gather(*(one_call() for _ in range(10)))
        await settle()
        assert results == ["dtls"] * 40
        assert (len(asyncio.all_tasks()), descriptors()) == before
        assert dtls_timers == []
        assert [t for t in timers() if "DtlsSession" in repr(t)] == []
        assert (alice.calls, bob.calls, brisk_stack.media.streams) == ([], [], [])
        serving.cancel()
