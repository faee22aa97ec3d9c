"""Media that changes in a call by UPDATE or re-INVITE; the peer is a script on a socket."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from callmeter import events
from callmeter.config import Codec, Credentials, EndpointConfig, MediaConfig, VideoConfig
from callmeter.endpoint import Endpoint
from callmeter.errors import (
    CallFailed,
    CallRejected,
    ConfigurationError,
    LocalProtocolError,
    SdpSyntaxError,
    TransportError,
)
from callmeter.media.engine import MediaEngine
from callmeter.metrics.phases import Outcome

PATIENCE = 20
SERVES_UPDATE = [("Allow", "INVITE, ACK, BYE, CANCEL, UPDATE, PRACK")]
PCMA_ONLY = MediaConfig(codecs=(Codec.PCMA,))
RELIABLE = [("Require", "100rel"), ("RSeq", "9")]


@pytest.fixture
def say(phone):
    """A response of the phone."""

    def respond(request, status, body=b"", *headers):
        lines = [("Contact", f"<{phone.uri}>"), *headers]
        if body:
            lines.append(("Content-Type", "application/sdp"))
        response = request.create_response(status, to_tag="phone", headers=lines, body=body)
        phone._socket.sendto(response.to_bytes(), phone._peer)

    return respond


@pytest.fixture
def begun(alice, phone, say):
    """A call to the phone, which serves UPDATE unless told otherwise."""

    async def call(*headers, **settings):
        call = await alice.invite(phone.uri, **settings)
        phone.invite = await phone.expect("INVITE")
        body = phone.sdp("a=rtpmap:8 PCMA/8000").replace(b"AVP 0 101", b"AVP 0 8 101")
        say(phone.invite, 200, body, *(headers or SERVES_UPDATE))
        await call.answered(PATIENCE)
        await phone.expect("ACK")
        return call

    return call


def pcma(phone, **how):
    return phone.sdp("a=rtpmap:8 PCMA/8000", **how).replace(b"AVP 0 101", b"AVP 8 101")


async def meanwhile(work, *steps):
    """Do something while the phone goes through its steps."""

    async def play():
        for step in steps:
            await step()

    async with asyncio.timeout(PATIENCE):
        results = await asyncio.gather(work, play(), return_exceptions=True)
    for result in reversed(results):
        if isinstance(result, BaseException):
            raise result


async def test_a_codec_is_changed_by_update_where_the_peer_serves_it(phone, say, begun):
    call = await begun()

    async def answer():
        update = await phone.expect("UPDATE")
        assert re.search(rb"m=audio \d+ RTP/AVP 8 101\r\n", update.body)
        say(update, 200, pcma(phone, version=2))

    await meanwhile(call.update(PCMA_ONLY), answer)
    assert call.media.codec == "PCMA"
    await phone.hang_up(call)
    assert any(isinstance(e, events.Updated) and not e.by_peer for e in await told(call))


async def told(call):
    return [event async for event in call.events()]


@pytest.mark.parametrize("how", ["asked for", "not served"])
async def test_a_codec_is_changed_by_re_invite_otherwise(phone, say, begun, how):
    call = await begun(*([] if how == "asked for" else [("Allow", "INVITE, BYE")]))

    async def answer():
        say(await phone.expect("INVITE"), 200, pcma(phone, version=2))
        await phone.expect("ACK")

    method = "INVITE" if how == "asked for" else None
    await meanwhile(call.update(PCMA_ONLY, method=method), answer)
    assert call.media.codec == "PCMA"
    await phone.hang_up(call)


async def test_update_is_not_forced_on_a_peer_that_does_not_serve_it(phone, begun):
    call = await begun(("Allow", "INVITE, BYE"))
    with pytest.raises(LocalProtocolError, match="does not serve UPDATE"):
        await call.update(method="UPDATE")
    assert not call.media.offering
    await phone.hang_up(call)


async def test_a_change_that_is_refused_leaves_everything_as_it_was(phone, say, begun):
    call = await begun()

    async def refuse():
        warning = ("Warning", '305 pbx.example "no such codec"')
        say(await phone.expect("UPDATE"), 488, b"", warning)

    with pytest.raises(CallRejected, match=r"488 .*: warning 305 .*no such codec"):
        await meanwhile(call.update(PCMA_ONLY), refuse)
    assert (call.media.codec, call.media.config) == ("PCMU", MediaConfig())
    await phone.hang_up(call)
    assert call.report().outcome is Outcome.SUCCESS


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"media": MediaConfig(ports=(40000, 40001), dscp=0)}, "cannot change .*dscp"),
        ({"method": "INFO"}, "not by 'INFO'"),
        ({"method": "UPDATE", "offer": False}, "only a re-INVITE"),
    ],
)
async def test_what_cannot_change_is_said_before_anything_is_sent(phone, begun, arguments, words):
    call = await begun()
    with pytest.raises(ConfigurationError, match=words):
        await call.update(**arguments)
    await phone.hang_up(call)


async def test_the_peer_is_asked_for_its_offer(phone, say, begun):
    call = await begun()

    async def offer():
        invite = await phone.expect("INVITE")
        assert not invite.body
        say(invite, 200, pcma(phone, version=2))
        assert b"RTP/AVP 8 101" in (await phone.expect("ACK")).body

    await meanwhile(call.update(offer=False), offer)
    assert call.media.codec == "PCMA"
    await phone.hang_up(call)


async def test_an_offer_of_the_peer_is_answered_though_who_asked_for_it_is_cancelled(
    phone, say, begun
):
    call = await begun()
    asking = asyncio.get_running_loop().create_task(call.update(offer=False))
    invite = await phone.expect("INVITE")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    say(invite, 200, pcma(phone, version=2))
    assert b"RTP/AVP 8 101" in (await phone.expect("ACK")).body
    assert call.media.codec == "PCMA"
    await phone.hang_up(call)


@pytest.mark.parametrize(("status", "codec"), [(200, "PCMA"), (488, "PCMU")])
async def test_settings_whose_user_is_cancelled_are_those_the_peer_agreed_to(
    phone, say, begun, status, codec
):
    call = await begun()
    updating = asyncio.get_running_loop().create_task(call.update(PCMA_ONLY))
    update = await phone.expect("UPDATE")
    updating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await updating
    say(update, status, pcma(phone, version=2) if status == 200 else b"")
    async with asyncio.timeout(PATIENCE):
        while call._changes._pending is not None:  # noqa: ASYNC110  nobody is told
            await asyncio.sleep(0.01)
    assert call.media.codec == codec
    assert call.media.config.codecs == (PCMA_ONLY if status == 200 else MediaConfig()).codecs
    await phone.hang_up(call)


async def test_an_offer_that_cannot_be_made_leaves_everything_as_it_was(
    phone, say, begun, monkeypatch
):
    call = await begun(media=MediaConfig(deferred=True))
    wanted = replace(call.media.config, deferred=False, video=VideoConfig())

    def exhausted(*_, **__):
        raise TransportError("no free UDP port")

    with monkeypatch.context() as patched:
        patched.setattr(MediaEngine, "open_video_stream", exhausted)
        with pytest.raises(TransportError):
            await call.update(wanted)
    assert call.media.config.deferred
    assert b"a=inactive" in call.media.create_offer()
    call.media.rollback()
    await phone.hang_up(call)


async def test_a_peer_that_makes_no_offer_when_asked_loses_the_call(phone, say, begun):
    call = await begun()

    async def offer():
        say(await phone.expect("INVITE"), 200, b"v=nonsense")
        await phone.expect("ACK")
        phone.answer(await phone.expect("BYE"))

    with pytest.raises(SdpSyntaxError):
        await meanwhile(call.update(offer=False), offer)
    assert call.report().outcome is Outcome.NEGOTIATION_FAILED


@pytest.mark.parametrize("offer", [True, False])
async def test_a_reliable_183_to_a_re_invite_holds_what_the_200_does_not(phone, say, begun, offer):
    call = await begun()

    async def answer():
        invite = await phone.expect("INVITE")
        say(invite, 183, pcma(phone, version=2), *RELIABLE)
        prack = await phone.expect("PRACK")
        assert bool(prack.body) is not offer
        say(prack, 200)
        say(invite, 200)
        await phone.expect("ACK")

    method = "INVITE" if offer else None
    await meanwhile(call.update(method=method, offer=offer), answer)
    assert call.media.codec == "PCMA"
    await phone.hang_up(call)


async def test_nonsense_in_a_reliable_183_to_a_re_invite_ends_the_call(phone, say, begun):
    call = await begun()

    async def answer():
        say(await phone.expect("INVITE"), 183, b"v=nonsense", *RELIABLE)
        phone.answer(await phone.expect("BYE"))

    with pytest.raises(CallFailed):
        await meanwhile(call.update(offer=False), answer)
    assert call.report().outcome is Outcome.NEGOTIATION_FAILED


async def test_an_update_of_the_peer_holds_and_resumes(phone, begun):
    call = await begun()
    for line, direction in (("a=sendonly", "recvonly"), ("a=sendrecv", "sendrecv")):
        phone.request("UPDATE", phone.sdp(line, version=phone._cseq))
        assert (await phone.response("UPDATE")).status == 200
        assert call.media.direction == direction
    await phone.hang_up(call)
    assert call.report().counters["hold_count"] == 1
    assert sum(isinstance(e, events.Updated) and e.by_peer for e in await told(call)) == 2


@pytest.mark.parametrize("offer", ["in the INVITE", "asked for"])
async def test_a_re_invite_of_the_peer_that_changes_the_codec_is_told(phone, begun, offer):
    call = await begun()
    body = pcma(phone, version=2)
    number = phone.request("INVITE", body if offer == "in the INVITE" else b"")
    assert (await phone.response("INVITE")).status == 200
    phone.request("ACK", b"" if offer == "in the INVITE" else body, cseq=number)
    async with asyncio.timeout(PATIENCE):
        async for event in call.events():
            if isinstance(event, events.Updated):
                break
    assert event.by_peer
    assert call.media.codec == "PCMA"
    await phone.hang_up(call)


async def test_a_re_invite_of_the_peer_that_changes_nothing_is_no_update(phone, begun):
    call = await begun()
    for lines in ((), ("a=sendonly",)):
        body = phone.sdp("a=rtpmap:8 PCMA/8000", *lines, version=phone._cseq)
        number = phone.request("INVITE", body.replace(b"AVP 0 101", b"AVP 0 8 101"))
        assert (await phone.response("INVITE")).status == 200
        phone.request("ACK", cseq=number)
    await phone.hang_up(call)
    happened = await told(call)
    assert not any(isinstance(e, events.Updated) for e in happened)
    assert sum(isinstance(e, events.Held) for e in happened) == 1


async def test_an_update_that_cannot_be_taken_is_refused_with_the_reason(phone, begun):
    call = await begun()
    body = phone.sdp(version=2).replace(b"AVP 0 101", b"AVP 18")
    phone.request("UPDATE", body)
    response = await phone.response("UPDATE")
    assert response.status == 488
    assert "305 " in (response.headers.get("Warning") or "")
    assert call.media.codec == "PCMU"
    await phone.hang_up(call)


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
async def test_an_update_that_waits_for_another_try_lets_no_other_offer_in(
    phone, say, begun, method
):
    call = await begun()

    async def glare():
        say(await phone.expect("UPDATE"), 491)
        number = phone.request(method, phone.sdp("a=sendonly", version=2))
        assert (await phone.response(method)).status == 491
        if method == "INVITE":
            phone.request("ACK", cseq=number)
        say(await phone.expect("UPDATE"), 200, pcma(phone, version=3))

    await meanwhile(call.update(PCMA_ONLY), glare)
    assert call.media.codec == "PCMA"
    await phone.hang_up(call)


async def test_a_re_invite_that_waits_starts_from_what_an_update_agreed_on(phone, say, begun):
    call = await begun()

    async def glare():
        invite = await phone.expect("INVITE")
        say(invite, 491)
        await phone.expect("ACK")
        phone.request("UPDATE", pcma(phone, version=2))
        assert (await phone.response("UPDATE")).status == 200
        say(await phone.expect("INVITE"), 200, pcma(phone, version=3))
        await phone.expect("ACK")

    await meanwhile(call.update(PCMA_ONLY, method="INVITE"), glare)
    assert call.media.codec == "PCMA"
    await phone.hang_up(call)


async def test_a_hold_waits_until_an_offer_of_ours_has_its_answer(phone, say, begun):
    call = await begun()
    number = phone.request("INVITE")
    assert (await phone.response("INVITE")).status == 200

    async def acknowledge():
        phone.request("ACK", phone.sdp(version=2), cseq=number)
        invite = await phone.expect("INVITE")
        assert b"a=sendonly" in invite.body
        say(invite, 200, phone.sdp("a=recvonly", version=3))
        await phone.expect("ACK")

    await meanwhile(call.hold(), acknowledge)
    assert call.media.direction == "sendonly"
    await phone.hang_up(call)


# deferred tracks


async def test_a_deferred_track_is_silent_until_it_is_activated(make_endpoint, until):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    call = await alice.invite(str(bob.contact), media=MediaConfig(deferred=True))
    incoming = await bob.next_call(PATIENCE)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(incoming.answer())
        tasks.create_task(call.answered())
    assert (call.media.direction, incoming.media.direction) == ("inactive", "inactive")
    await call.update(replace(call.media.config, deferred=False))
    assert (call.media.direction, incoming.media.direction) == ("sendrecv", "sendrecv")
    await incoming.media.play(seconds=0.2)
    await until(lambda: call.media.statistics().receive.packets_received)
    await call.bye()
    assert call.report().counters["hold_count"] == 0


# what the registrar says


async def test_calls_go_by_the_service_route_and_show_the_gruu(entered, stack, phone):
    gruu = "sip:alice@example.com;gr=urn:uuid:1"
    proxy = f"sip:{phone._host_port};lr"
    config = EndpointConfig(
        "sip:alice@example.com",
        Credentials("alice", "x"),
        registrar=f"sip:{phone._host_port}",
        gruu=True,
    )
    alice = await entered.enter_async_context(Endpoint(config, stack))

    def accept(register, *headers):
        contact = str(register.contacts[0])
        expires = register.headers.get("Expires") or "600"
        lines = [("Contact", f'{contact};expires={expires};pub-gruu="{gruu}"'), *headers]
        response = register.create_response(200, to_tag="r", headers=lines)
        phone._socket.sendto(response.to_bytes(), phone._peer)

    registration = alice.registered()

    async def grant():
        accept(await phone.expect("REGISTER"), ("Service-Route", f"<{proxy}>"))

    await meanwhile(registration.__aenter__(), grant)
    assert str(alice.core.identity.reached_at) == gruu
    call = await alice.invite("sip:bob@elsewhere.invalid")
    invite = await phone.take()
    assert str(invite.routes[0].uri) == proxy
    assert str(invite.contacts[0].uri) == gruu
    await call.answered(PATIENCE)
    await phone.expect("ACK")
    await phone.hang_up(call)

    async def remove():
        accept(await phone.expect("REGISTER"))

    await meanwhile(registration.__aexit__(None, None, None), remove)
    assert alice.core.identity.route_set == ()
    assert alice.core.identity.gruu is None
