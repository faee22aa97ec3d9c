"""Calls between two endpoints of ours over loopback sockets."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from callmeter import events
from callmeter.config import EndpointConfig, MediaConfig, SrtpConfig, SrtpPolicy, SrtpSuite
from callmeter.endpoint import Endpoint
from callmeter.errors import (
    CallCancelled,
    CallRejected,
    CallTimedOut,
    ConfigurationError,
    ConnectionFailed,
    LocalProtocolError,
    NegotiationError,
    NoCommonCodec,
    NoCommonSuite,
    SrtpRequired,
)
from callmeter.media.analysis import recorded_frequency
from callmeter.media.echo import Echo
from callmeter.media.sources import Tone
from callmeter.srtp.libsrtp import supported_suites

PATIENCE = 20
SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
OFFERED = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.OFFERED))


def secure_with(*suites: SrtpSuite) -> MediaConfig:
    return MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED, suites=suites))


async def answer_and_echo(endpoint):
    incoming = await endpoint.next_call(PATIENCE)
    await incoming.answer()
    incoming.media.echo()
    await incoming.ended()
    return incoming


async def wait_for_event(call, kind):
    async with asyncio.timeout(PATIENCE):
        async for event in call.events():
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the call ended without {kind.__name__}")


def stream_of(report):
    return report.to_dict()["media"][0]


async def test_a_secure_call_carries_audio_both_ways_and_reports_it(
    make_endpoint, standstill, tmp_path
):
    alice, bob = (
        await make_endpoint("alice", media=SECURE),
        await make_endpoint("bob", media=SECURE),
    )
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            call.media.record(tmp_path / "heard.wav")
            await call.media.play(Tone(620), seconds=1.5)
        incoming = await answering
    report = call.report().to_dict()
    assert report["outcome"] == "SUCCESS"
    assert report["call_result"] == "answered"
    assert report["phase"] == "CLOSED"
    assert recorded_frequency(tmp_path / "heard.wav") == pytest.approx(620, abs=5)
    for end in (call, incoming):
        stream = stream_of(end.report())
        assert stream["keying"] == "sdes"
        assert stream["suite"] == "AES_CM_128_HMAC_SHA1_80"
        assert stream["profile"] == "RTP/SAVP"
        assert stream["receive"]["packets_received"] >= 60 - standstill.packets
        assert stream["receive"]["packets_lost"] == 0
        assert stream["receive"]["srtp_decrypt_failures"] == 0


@pytest.mark.parametrize("suite", sorted(supported_suites()))
async def test_every_suite_of_this_build_carries_a_call(make_endpoint, suite):
    alice = await make_endpoint("alice", media=secure_with(suite))
    bob = await make_endpoint("bob", media=secure_with(suite))
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            playing = asyncio.ensure_future(call.media.play(Tone(440), seconds=5))  # noqa: TID251
            await wait_for_event(call, events.MediaStarted)
            playing.cancel()
        await answering
    assert stream_of(call.report())["suite"] == suite.value
    assert stream_of(call.report())["receive"]["srtp_decrypt_failures"] == 0


@pytest.mark.parametrize("rtcp_mux", [False, True])
async def test_rtcp_travels_with_and_without_mux(make_endpoint, rtcp_mux):
    media = replace(SECURE, rtcp_mux=rtcp_mux)
    alice, bob = await make_endpoint("alice", media=media), await make_endpoint("bob", media=media)
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            await wait_for_event(call, events.MediaStarted)
        await answering
    assert stream_of(call.report())["rtcp_mux"] is rtcp_mux


async def test_required_with_no_suite_of_this_build_is_refused_before_anything_is_sent():
    missing = set(SrtpSuite) - supported_suites()
    if not missing:
        return
    with pytest.raises(ConfigurationError, match="libsrtp"):
        Endpoint(EndpointConfig("sip:alice@127.0.0.1", media=secure_with(*missing)))


async def test_a_refused_call_raises_its_status_with_the_report(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")

    async def refuse():
        incoming = await bob.next_call(PATIENCE)
        incoming.reject(486)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(refuse())
        with pytest.raises(CallRejected, match="486") as caught:
            async with alice.call(str(bob.contact)):
                pytest.fail("the call was answered")
    assert caught.value.status == 486
    report = caught.value.report.to_dict()
    assert report["call_result"] == "busy"
    assert report["final_status_code"] == 486
    assert report["outcome"] == "CALL_FAILED"
    assert report["error"]["type"] == "CallRejected"


async def test_an_unknown_user_is_not_found(make_endpoint, stack):
    alice = await make_endpoint("alice")
    await make_endpoint("bob")
    host, port = stack.transport.listening()
    with pytest.raises(CallRejected) as caught:
        async with alice.call(f"sip:nobody@{host}:{port}"):
            pytest.fail("the call was answered")
    assert caught.value.status == 404


async def test_a_silent_peer_times_out_by_timer_b(make_endpoint, hasty_stack, silent_port):
    alice = await make_endpoint("alice", on=hasty_stack)
    with pytest.raises(CallTimedOut) as caught:
        async with alice.call(f"sip:bob@127.0.0.1:{silent_port}"):
            pytest.fail("the call was answered")
    assert caught.value.timer == "B"
    assert caught.value.report.to_dict()["outcome"] == "TIMEOUT"
    invites = [m for m in alice.messages if m.direction == "sent"]
    # Exactly 7 in virtual time (tests/unit/sip/transaction); a busy machine may leave out the last.
    assert 2 <= len(invites) <= 7
    assert len({m.raw for m in invites}) == 1


async def test_a_closed_port_fails_at_once_and_names_the_cause(make_endpoint, closed_port):
    alice = await make_endpoint("alice")
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ConnectionFailed, match="refused") as caught:
            async with alice.call(f"sip:bob@127.0.0.1:{closed_port}"):
                pytest.fail("the call was answered")
    assert caught.value.report.to_dict()["outcome"] == "OSERROR"


async def test_no_suite_in_common_is_488_and_both_ends_say_so(make_endpoint):
    alice = await make_endpoint("alice", media=secure_with(SrtpSuite.AEAD_AES_256_GCM))
    bob = await make_endpoint("bob", media=secure_with(SrtpSuite.AES_CM_128_HMAC_SHA1_80))

    async def try_to_answer():
        incoming = await bob.next_call(PATIENCE)
        with pytest.raises(NoCommonSuite) as caught:
            await incoming.answer()
        await incoming.ended()
        return caught.value

    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(try_to_answer())
        with pytest.raises(NoCommonSuite) as caught:
            async with alice.call(str(bob.contact)):
                pytest.fail("the call was answered")
        refused = await answering
    assert refused.offered == ("AEAD_AES_256_GCM",)
    assert refused.supported == ("AES_CM_128_HMAC_SHA1_80",)
    assert caught.value.report.to_dict()["final_status_code"] == 488
    assert "(supported: AES_CM_128_HMAC_SHA1_80)" in str(caught.value)
    assert caught.value.report.to_dict()["outcome"] == "NEGOTIATION_FAILED"
    assert refused.report.to_dict()["outcome"] == "NEGOTIATION_FAILED"


async def test_required_against_clear_media_never_falls_back(make_endpoint):
    alice = await make_endpoint("alice")
    bob = await make_endpoint("bob", media=SECURE)

    async def try_to_answer():
        incoming = await bob.next_call(PATIENCE)
        with pytest.raises(SrtpRequired):
            await incoming.answer()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(try_to_answer())
        with pytest.raises(CallRejected) as caught:
            async with alice.call(str(bob.contact)):
                pytest.fail("the call was answered")
    assert caught.value.status == 488


async def test_offered_falls_back_to_clear_media_and_says_so(make_endpoint):
    alice = await make_endpoint("alice")
    bob = await make_endpoint("bob", media=OFFERED)
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            await wait_for_event(call, events.MediaStarted)
        incoming = await answering
    assert incoming.report().to_dict()["outcome"] == "COMPLETED_WITH_WARNINGS"
    assert stream_of(incoming.report())["keying"] == "none"
    assert call.report().to_dict()["outcome"] == "SUCCESS"


async def test_leaving_a_ringing_call_sends_cancel_and_waits_for_the_487(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    call = await alice.invite(str(bob.contact))
    incoming = await bob.next_call(PATIENCE)
    incoming.ring()
    await wait_for_event(call, events.Ringing)
    await call.bye()
    assert call.report().to_dict()["call_result"] == "cancelled"
    assert call.report().to_dict()["final_status_code"] == 487
    async with asyncio.timeout(PATIENCE):
        await incoming.ended()
    with pytest.raises(CallCancelled):
        await incoming.answer()
    sent = [m.message.method for m in alice.messages if m.direction == "sent"]
    assert sent == ["INVITE", "PRACK", "CANCEL", "ACK"]


async def test_a_cancelled_task_cancels_its_call(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")

    async def call_for_ever():
        async with alice.call(str(bob.contact)):
            pytest.fail("the call was answered")

    calling = asyncio.get_running_loop().create_task(call_for_ever())
    incoming = await bob.next_call(PATIENCE)
    incoming.ring()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    async with asyncio.timeout(PATIENCE):
        await incoming.ended()
    assert alice.calls == []
    assert bob.calls == []


async def test_nobody_answers_within_the_ring_timeout(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    with pytest.raises(CallTimedOut) as caught:
        async with alice.call(str(bob.contact), ring_timeout=0.3):
            pytest.fail("the call was answered")
    assert caught.value.timer == "ring"
    assert caught.value.report.to_dict()["outcome"] == "TIMEOUT"


async def test_an_exception_in_the_body_still_hangs_up(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        with pytest.raises(ZeroDivisionError):
            async with alice.call(str(bob.contact)):
                raise ZeroDivisionError
        incoming = await answering
    assert incoming.report().to_dict()["outcome"] == "SUCCESS"
    assert alice.calls == []


async def test_play_returns_early_when_the_callee_hangs_up(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")

    async def answer_and_leave():
        incoming = await bob.next_call(PATIENCE)
        await incoming.answer()
        await incoming.bye()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer_and_leave())
        async with asyncio.timeout(PATIENCE), alice.call(str(bob.contact)) as call:
            played = await call.media.play(Tone(440), seconds=60)
    assert played < PATIENCE
    ended = [event async for event in call.events()][-1]
    assert ended == events.Ended(ended.at, "bye-received")


async def test_hold_and_resume_change_directions_on_both_sides(make_endpoint):
    alice, bob = (
        await make_endpoint("alice", media=SECURE),
        await make_endpoint("bob", media=SECURE),
    )
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            await wait_for_event(call, events.MediaStarted)
            await call.hold()
            assert call.media.direction == "sendonly"
            peer = bob.calls[0]
            assert peer.media.direction == "recvonly"
            await call.resume()
            assert call.media.direction == "sendrecv"
            await wait_for_event(peer, events.Resumed)
        incoming = await answering
    for end in (call, incoming):
        counters = end.report().to_dict()["counters"]
        assert counters["hold_count"] == 1
        assert counters["total_hold_duration_ms"] > 0
        assert stream_of(end.report())["receive"]["srtp_decrypt_failures"] == 0


@pytest.mark.parametrize("method", ["rtp", "info"])
async def test_digits_arrive_once_each(make_endpoint, method):
    alice, bob = (
        await make_endpoint("alice", media=SECURE),
        await make_endpoint("bob", media=SECURE),
    )
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            await call.send_dtmf("19#*", method=method, duration_ms=100)
            async with asyncio.timeout(PATIENCE):
                async for event in bob.calls[0].events():
                    if isinstance(event, events.DtmfReceived) and event.digit == "*":
                        break
            await asyncio.sleep(0.3)  # for any that would come a second time
        incoming = await answering
    heard = [
        event
        async for event in incoming.events()
        if isinstance(event, events.DtmfReceived) and event.method == method
    ]
    assert "".join(event.digit for event in heard) == "19#*"


async def test_dtmf_is_refused_while_held(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            await call.hold()
            with pytest.raises(LocalProtocolError, match="held"):
                await call.send_dtmf("1")
        await answering


async def test_garbage_on_every_port_leaves_a_call_untouched(make_endpoint, stack, until):
    alice, bob = (
        await make_endpoint("alice", media=SECURE),
        await make_endpoint("bob", media=SECURE),
    )
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_and_echo(bob))
        async with alice.call(str(bob.contact)) as call:
            await wait_for_event(call, events.MediaStarted)
            media_host, _, media_port = call.media.local.rpartition(":")
            ports = [stack.transport.listening(), (media_host, int(media_port))]
            ports.append((media_host, int(media_port) + 1))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
                for octets in (b"", b"\0", b"\xff" * 1400, b"INVITE", b"\x80" * 12, b"\x16" * 64):
                    for port in ports:
                        attacker.sendto(octets, port)
                before = call.media.statistics().receive.packets_received
                call.media.stream.play(Tone(440))
                await until(lambda: call.media.statistics().receive.packets_received > before + 30)
        await answering
    assert call.report().to_dict()["outcome"] == "SUCCESS"
    assert stream_of(call.report())["receive"]["packets_lost"] == 0


async def test_a_call_can_be_echoed_by_a_source(make_endpoint, tmp_path):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")

    async def answer_and_play_echo():
        incoming = await bob.next_call(PATIENCE)
        await incoming.answer()
        await incoming.media.play(Echo())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer_and_play_echo())
        async with alice.call(str(bob.contact)) as call:
            call.media.record(tmp_path / "heard.wav")
            await call.media.play(Tone(1000), seconds=1)
    assert recorded_frequency(tmp_path / "heard.wav") == pytest.approx(1000, abs=5)


async def test_options_are_answered_with_what_can_be_done(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    response = await alice.options(str(bob.contact))
    assert response.status == 200
    assert "INVITE" in response.allow


async def test_media_that_cannot_be_negotiated_names_the_codecs(make_endpoint):
    from callmeter.config import Codec  # noqa: PLC0415

    alice = await make_endpoint("alice", media=MediaConfig(codecs=(Codec.PCMU,)))
    bob = await make_endpoint("bob", media=MediaConfig(codecs=(Codec.PCMA,)))

    async def try_to_answer():
        incoming = await bob.next_call(PATIENCE)
        with pytest.raises(NegotiationError, match="PCMU"):
            await incoming.answer()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(try_to_answer())
        with pytest.raises(NoCommonCodec, match="PCMU") as caught:
            async with alice.call(str(bob.contact)):
                pytest.fail("the call was answered")
    assert caught.value.report.to_dict()["final_status_code"] == 488


async def test_offered_tries_again_in_clear_when_srtp_is_refused_outright(make_endpoint):
    alice = await make_endpoint("alice", media=OFFERED)
    bob = await make_endpoint("bob")
    refused = []

    async def refuse_then_answer():
        incoming = await bob.next_call(PATIENCE)
        with pytest.raises(NegotiationError) as caught:
            await incoming.answer()
        refused.append(caught.value)
        await answer_and_echo(bob)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(refuse_then_answer())
        async with alice.call(str(bob.contact)) as call:
            await wait_for_event(call, events.MediaStarted)
    report = call.report().to_dict()
    assert len(refused) == 1
    assert report["outcome"] == "COMPLETED_WITH_WARNINGS"
    assert report["media"][0]["keying"] == "none"
    [finding] = [one for one in report["diagnosis"] if one["status"] in {"warn", "fail"}]
    assert (finding["check"], finding["status"]) == ("srtp_fallback", "warn")
    assert "488" in finding["detail"]
    sent = [m.message.method for m in call.messages if m.direction == "sent"]
    assert sent == ["INVITE", "ACK", "INVITE", "ACK", "BYE"]
    assert alice.calls == []
