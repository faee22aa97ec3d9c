"""New media keys in the middle of a call, between two endpoints of ours."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import trustme
from OpenSSL import SSL

from callmeter import (
    DtlsConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    Tone,
    events,
)
from callmeter.config import SrtpSuite
from callmeter.errors import DtlsTimeout, LocalProtocolError
from callmeter.media.sinks import AudioSink
from callmeter.media.stream import MediaStream
from callmeter.media_keys import KeyAttributes
from callmeter.srtp.dtls_certificate import DtlsCertificate
from callmeter.srtp.libsrtp import DOOR, supported_suites

PATIENCE = 30
REKEYS = 10


def secure(suite=SrtpSuite.AES_CM_128_HMAC_SHA1_80):
    return MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED, suites=(suite,)), rtcp_mux=True)


@pytest.fixture
def connect(make_endpoint, until):
    """Two endpoints in a call that both hear."""

    async def connected(media, theirs=None):
        alice, bob = (
            await make_endpoint("alice", media=media),
            await make_endpoint("bob", media=theirs or media),
        )
        call = await alice.invite(str(bob.contact))
        incoming = await bob.next_call(PATIENCE)
        await incoming.answer()
        await call.answered(PATIENCE)
        for end in (call, incoming):
            end.media.stream.play(Tone(440))
        await until(lambda: all(heard(end) >= 10 for end in (call, incoming)))
        return call, incoming

    return connected


class Arrivals(AudioSink):
    """Finds the longest time in which nothing was heard."""

    def __init__(self):
        self.last = None
        self.longest = 0.0

    def write(self, codec, sequence, timestamp, arrival, payload):
        if self.last is not None:
            self.longest = max(self.longest, arrival - self.last)
        self.last = arrival


def heard(end):
    return end.media.statistics().receive.packets_received


async def hear_more(until, *ends, packets=10):
    targets = [(end, heard(end) + packets) for end in ends]
    await until(lambda: all(heard(end) >= target for end, target in targets))


def stream_of(call):
    return call.report().to_dict()["media"][0]


def counters(call):
    return call.report().to_dict()["counters"]


@pytest.mark.parametrize("suite", sorted(supported_suites()))
@pytest.mark.parametrize("who", ["caller", "callee"])
async def test_ten_rekeys_lose_no_packet(connect, until, standstill, suite, who):
    call, incoming = await connect(secure(suite))
    asking, asked = (call, incoming) if who == "caller" else (incoming, call)
    arrivals = [Arrivals(), Arrivals()]
    for end, sink in zip((call, incoming), arrivals, strict=True):
        end.media.attach(sink)
    keys = set()
    for _ in range(REKEYS):
        await asking.rekey()
        await hear_more(until, call, incoming, packets=5)
        for end in (call, incoming):
            keys |= {end.media.keys.sdes.local.keys, end.media.keys.sdes.remote.keys}
    assert len(keys) == 2 * REKEYS
    await call.bye()
    for end in (call, incoming):
        receive = stream_of(end)["receive"]
        assert receive["packets_lost"] == 0
        assert receive["srtp_decrypt_failures"] == 0
        assert end.report().to_dict()["outcome"] == "SUCCESS"
    longest = 1.0 + standstill.seconds
    assert all(0 < sink.longest < longest for sink in arrivals)
    assert (counters(asking)["rekeys_sent"], counters(asking)["rekeys_received"]) == (REKEYS, 0)
    assert (counters(asked)["rekeys_sent"], counters(asked)["rekeys_received"]) == (0, REKEYS)


@pytest.mark.parametrize("roc", ["reset", "keep"])
async def test_a_counter_that_is_kept_or_reset_is_followed(connect, until, roc):
    if not DOOR.whole:
        pytest.skip("this build of libsrtp cannot set the counter")
    call, incoming = await connect(secure())
    ssrc = call.media.stream.ssrc
    for end in (call.media.keys.send, incoming.media.keys.receive):
        end.set_roc(ssrc, 5)
    await hear_more(until, call, incoming)
    await call.rekey(roc=roc)
    await hear_more(until, call, incoming)
    assert call.media.keys.send.roc(ssrc) in ({5, 6} if roc == "keep" else {0, 1})
    await call.bye()
    receive = stream_of(incoming)["receive"]
    assert receive["srtp_roc_kept"] == (roc == "keep")
    assert receive["packets_lost"] == receive["srtp_decrypt_failures"] == 0


async def test_a_counter_that_is_reset_under_the_same_key_is_followed_and_named(connect, until):
    if not DOOR.whole:
        pytest.skip("this build of libsrtp cannot set the counter")
    call, incoming = await connect(secure())
    ssrc = call.media.stream.ssrc
    for end in (call.media.keys.send, incoming.media.keys.receive):
        end.set_roc(ssrc, 5)
    await hear_more(until, incoming)
    sender = call.media.stream._sender
    sender.context.restart(ssrc, 0)
    sender._lanes.send_handles[sender._row] = sender.context.handle
    await hear_more(until, incoming, packets=20)
    await call.bye()
    assert stream_of(incoming)["receive"]["srtp_roc_resets"] == 1
    (finding,) = [one for one in incoming.diagnosis() if one.check == "roc_consistent"]
    assert finding.status.value == "fail"


async def test_a_call_on_hold_can_be_rekeyed_and_stays_on_hold(connect, until):
    call, incoming = await connect(secure())
    await call.hold()
    await call.rekey()
    assert call.media.direction == "sendonly"
    assert incoming.media.direction == "recvonly"
    await call.resume()
    await hear_more(until, call, incoming)
    await call.bye()
    assert counters(call)["hold_count"] == 1


async def test_hold_and_resume_keep_the_keys(connect, until):
    call, incoming = await connect(secure())
    before = call.media.keys.send, call.media.keys.receive
    await call.hold()
    await call.resume()
    assert (call.media.keys.send, call.media.keys.receive) == before
    await hear_more(until, call, incoming)
    await call.bye()
    assert counters(call)["rekeys_sent"] == counters(incoming)["rekeys_received"] == 0


async def test_a_rekey_is_told_at_both_ends(connect):
    call, incoming = await connect(secure())
    await call.rekey()
    await call.bye()
    for end, by_peer in ((call, False), (incoming, True)):
        told = [event async for event in end.events() if isinstance(event, events.Rekeyed)]
        assert [event.by_peer for event in told] == [by_peer]


async def test_clear_media_has_no_key_to_change(connect):
    call, _ = await connect(MediaConfig())
    with pytest.raises(LocalProtocolError, match="not encrypted"):
        await call.rekey()
    await call.bye()


async def test_both_ends_may_ask_at_once(connect, until):
    call, incoming = await connect(secure())
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(call.rekey())
        tasks.create_task(incoming.rekey())
    await hear_more(until, call, incoming)
    await call.bye()
    for end in (call, incoming):
        assert counters(end)["rekeys_sent"] == counters(end)["rekeys_received"] == 1
        receive = stream_of(end)["receive"]
        assert receive["packets_lost"] == receive["srtp_decrypt_failures"] == 0


# DTLS


def by_dtls(method=SrtpMethod.DTLS, **settings):
    return MediaConfig(
        srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED, method=method, dtls=DtlsConfig(**settings)),
        rtcp_mux=True,
    )


@pytest.fixture
def pem():
    made = trustme.CA().issue_cert("127.0.0.1")
    return {
        "certificate": made.cert_chain_pems[0].bytes().decode(),
        "private_key": made.private_key_pem.bytes().decode(),
    }


@pytest.mark.parametrize("method", [SrtpMethod.DTLS, SrtpMethod.DUAL])
@pytest.mark.parametrize("who", ["caller", "callee"])
async def test_ten_new_associations_lose_no_packet(connect, until, method, who):
    call, incoming = await connect(by_dtls(method))
    asking, asked = (call, incoming) if who == "caller" else (incoming, call)
    fingerprints = set()
    for number in range(REKEYS):
        async with asyncio.timeout(PATIENCE):
            await asking.rekey()
        await until(lambda number=number: asked.media.rehandshakes == number + 1)
        await hear_more(until, call, incoming, packets=5)
        fingerprints |= {end.media.keys.dtls.fingerprint for end in (call, incoming)}
    assert len(fingerprints) == REKEYS + 1
    await call.bye()
    for end in (call, incoming):
        receive = stream_of(end)["receive"]
        assert receive["packets_lost"] == receive["srtp_decrypt_failures"] == 0
        assert counters(end)["dtls_rehandshakes"] == REKEYS
        assert end.report().to_dict()["outcome"] == "SUCCESS"
    assert (counters(asking)["rekeys_sent"], counters(asking)["rekeys_received"]) == (REKEYS, 0)
    assert (counters(asked)["rekeys_sent"], counters(asked)["rekeys_received"]) == (0, REKEYS)


def renegotiate(end):
    """Let the DTLS of one end ask the other for another handshake in the same association."""
    session = end.media.keys.dtls._media
    current = session.transport._current
    connection = current.association._connection
    connection.renegotiate()
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()
    now = asyncio.get_running_loop().time()
    session.transport._queue(current.association._collect(now), current.source)
    session._carry_out(session.transport._result())


@pytest.mark.parametrize("who", ["caller", "callee"])
async def test_ten_renegotiations_lose_no_packet(connect, until, who):
    call, incoming = await connect(by_dtls(renegotiation=True))
    asking = call if who == "caller" else incoming
    keys = set()
    for number in range(REKEYS):
        renegotiate(asking)
        await until(
            lambda number=number: (
                call.media.rehandshakes == incoming.media.rehandshakes == number + 1
            )
        )
        await hear_more(until, call, incoming, packets=5)
        keys |= {end.media.keys.dtls._media.transport.keys for end in (call, incoming)}
    assert len(keys) == 2 * REKEYS
    await call.bye()
    for end in (call, incoming):
        receive = stream_of(end)["receive"]
        assert receive["packets_lost"] == receive["srtp_decrypt_failures"] == 0
        assert counters(end)["dtls_rehandshakes"] == REKEYS
        assert counters(end)["rekeys_sent"] == counters(end)["rekeys_received"] == 0
        assert end.report().to_dict()["outcome"] == "SUCCESS"


@pytest.mark.parametrize("who", ["caller", "callee"])
async def test_a_renegotiation_is_refused_unless_it_is_allowed(connect, until, who):
    settings = by_dtls(renegotiation=True), by_dtls()
    call, incoming = await connect(*(settings if who == "caller" else settings[::-1]))
    asking, asked = (call, incoming) if who == "caller" else (incoming, call)
    contexts = asked.media.keys.send, asked.media.keys.receive
    statistics = asked.media.keys.dtls._media.transport.statistics
    received = statistics.datagrams_received
    renegotiate(asking)
    # What was asked, and the alert by which the asking end takes note of the refusal.
    await until(lambda: statistics.datagrams_received >= received + 2)
    await hear_more(until, call, incoming)
    assert (asked.media.keys.send, asked.media.keys.receive) == contexts
    await call.bye()
    for end in (call, incoming):
        receive = stream_of(end)["receive"]
        assert receive["packets_lost"] == receive["srtp_decrypt_failures"] == 0
        assert counters(end)["dtls_rehandshakes"] == 0
        assert end.report().to_dict()["outcome"] == "SUCCESS"


@pytest.mark.parametrize("who", ["caller", "callee"])
async def test_nothing_is_heard_under_what_another_certificate_renegotiated(connect, until, who):
    call, incoming = await connect(by_dtls(renegotiation=True))
    asking, asked = (call, incoming) if who == "caller" else (incoming, call)
    other = DtlsCertificate.generate(datetime.now(UTC))
    connection = asking.media.keys.dtls._media.transport._current.association._connection
    connection.use_certificate(other._certificate)
    connection.use_privatekey(other._private_key)
    renegotiate(asking)
    await until(lambda: asking.media.rehandshakes == 1)
    await until(lambda: stream_of(asked)["receive"]["srtp_decrypt_failures"] >= 1)
    before = heard(asked)
    await until(lambda: stream_of(asked)["receive"]["srtp_decrypt_failures"] >= 20)
    assert heard(asked) == before
    await call.bye()
    report = asked.report().to_dict()
    assert report["counters"]["dtls_rehandshakes"] == 0
    assert report["outcome"] == "COMPLETED_WITH_WARNINGS"
    assert any("does not match fingerprint" in text for text in asked.media.warnings)


async def test_hold_and_resume_keep_the_association(connect, until):
    call, incoming = await connect(by_dtls())
    await call.hold()
    await incoming.hold()
    await incoming.resume()
    await call.resume()
    await hear_more(until, call, incoming)
    await call.bye()
    for end in (call, incoming):
        assert counters(end)["dtls_rehandshakes"] == 0


async def test_a_certificate_that_is_configured_stays_through_a_rekey(connect, until, pem):
    settings = by_dtls(**pem)
    call, incoming = await connect(settings)
    before = call.media.keys.dtls.fingerprint
    await call.rekey()
    await until(lambda: incoming.media.rehandshakes == 1)
    await hear_more(until, call, incoming)
    assert call.media.keys.dtls.fingerprint == before
    await call.bye()


async def test_a_fixed_certificate_and_a_peer_without_tls_id_cannot_be_rekeyed(
    connect, until, pem, monkeypatch
):
    monkeypatch.setattr(KeyAttributes, "attributes", ())
    settings = by_dtls(**pem)
    call, incoming = await connect(settings)
    with pytest.raises(LocalProtocolError, match="tls-id"):
        await call.rekey()
    await call.hold()
    await call.resume()
    await hear_more(until, call, incoming)
    await call.bye()
    assert counters(call)["dtls_rehandshakes"] == 0


async def test_a_peer_without_tls_id_is_rekeyed_by_a_new_fingerprint(connect, until, monkeypatch):
    monkeypatch.setattr(KeyAttributes, "attributes", ())
    call, incoming = await connect(by_dtls())
    await call.rekey()
    await until(lambda: incoming.media.rehandshakes == 1)
    await hear_more(until, call, incoming)
    await call.bye()


async def test_a_handshake_that_fails_leaves_the_old_keys_and_can_be_tried_again(
    connect, until, monkeypatch
):
    call, incoming = await connect(by_dtls(handshake_timeout=4.0))
    send = MediaStream.send_datagram
    monkeypatch.setattr(MediaStream, "send_datagram", lambda *_, **__: True)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(DtlsTimeout):
            await call.rekey()
    monkeypatch.setattr(MediaStream, "send_datagram", send)
    await hear_more(until, call, incoming)
    assert "a new DTLS handshake failed" in call.media.warnings[0]
    await call.rekey()
    await hear_more(until, call, incoming)
    await call.bye()
    assert counters(call)["dtls_rehandshakes"] == 1
    assert stream_of(call)["receive"]["packets_lost"] == 0


async def test_both_ends_may_ask_for_a_new_association_at_once(connect, until):
    call, incoming = await connect(by_dtls())
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(call.rekey())
        tasks.create_task(incoming.rekey())
    await until(lambda: call.media.rehandshakes == incoming.media.rehandshakes == 2)
    await hear_more(until, call, incoming)
    await call.bye()
    for end in (call, incoming):
        assert stream_of(end)["receive"]["packets_lost"] == 0


async def test_a_port_for_rtcp_gets_new_keys_too(connect, until):
    media = replace(by_dtls(), rtcp_mux=False)
    call, incoming = await connect(media)
    ends = (call.media, incoming.media)
    before = [end.keys.rtcp for end in ends]
    for number in (1, 2):
        await call.rekey()
        await until(lambda number=number: all(end.rehandshakes == number for end in ends))
    await until(lambda: all(end.keys.rtcp not in before for end in ends))
    counts = [end.statistics().rtcp_packets_received for end in ends]
    await until(
        lambda: all(
            end.statistics().rtcp_packets_received > count
            for end, count in zip(ends, counts, strict=True)
        )
    )
    await call.bye()
    for end in (call, incoming):
        assert not stream_of(end)["rtcp_mux"]
        assert stream_of(end)["receive"]["packets_lost"] == 0
