"""kamailio: digest registration, and calls through a record-routing proxy."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import AuthenticationFailed, CallRejected, SrtpConfig, SrtpMethod, SrtpPolicy
from peers.conversation import converse
from peers.tone import loudest

pytestmark = pytest.mark.interop("kamailio")

SDES = SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED)
DIGESTS = ["MD5", "SHA-256"]
TRANSPORTS = ["udp", "tcp"]


def assert_heard(recording, hertz):
    found, share = loudest(recording)
    assert found == pytest.approx(hertz, abs=5)
    assert share > 0.9


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("digest", DIGESTS)
async def test_a_registration_is_bound_refreshed_and_removed(phone, kamailio, digest, transport):
    proxy = kamailio(digest=digest)
    async with phone(proxy=proxy.address, transport=transport) as alice:
        async with alice.registered() as binding:
            [contact] = proxy.contacts("alice")
            assert f":{alice.contact.port}" in contact
            assert (";transport=tcp" in contact) is (transport == "tcp")
            await binding.refresh()
            assert len(proxy.contacts("alice")) == 1
        assert proxy.contacts("alice") == []


async def test_a_registration_outlives_the_nonce_it_was_made_with(phone, kamailio):
    proxy = kamailio(nonce_expire=1)
    async with phone(proxy=proxy.address) as alice, alice.registered() as binding:
        await asyncio.sleep(2.1)
        await binding.refresh()
        assert len(proxy.contacts("alice")) == 1


@pytest.mark.parametrize("digest", DIGESTS)
async def test_a_wrong_password_is_told_from_other_failures(phone, kamailio, digest):
    proxy = kamailio(digest=digest)
    async with phone(proxy=proxy.address, password="wrong") as alice:
        with pytest.raises(AuthenticationFailed) as caught:
            async with alice.registered():
                pass
    assert caught.value.status == 401
    assert "wrong" not in str(caught.value)


async def test_the_challenge_of_an_invite_is_answered_through_the_proxy(phone, kamailio):
    proxy = kamailio()
    async with phone(proxy=proxy.address) as alice:
        with pytest.raises(CallRejected) as caught:
            async with alice.call("sip:fail-486@example.test"):
                pass
    assert caught.value.status == 486


async def test_a_call_to_nobody_is_rejected_with_404(phone, kamailio):
    proxy = kamailio()
    async with phone(proxy=proxy.address) as alice:
        with pytest.raises(CallRejected) as caught:
            async with alice.call("sip:carol@example.test"):
                pass
    assert caught.value.status == 404


async def test_a_ringing_call_is_cancelled_through_the_proxy(phone, kamailio):
    proxy = kamailio()
    async with (
        phone("alice", proxy=proxy.address) as alice,
        phone("bob", proxy=proxy.address) as bob,
        bob.registered(),
    ):
        call = await alice.invite("sip:bob@example.test")
        incoming = await bob.next_call(20)
        incoming.ring()
        await asyncio.sleep(0.1)
        async with asyncio.timeout(20):
            await call.bye()
            await incoming.ended()
    assert call.report().to_dict()["final_status_code"] == 487


@pytest.mark.parametrize("callers", TRANSPORTS)
@pytest.mark.parametrize("callees", TRANSPORTS)
@pytest.mark.parametrize("hanging_up", ["caller", "callee"])
async def test_two_endpoints_talk_through_the_record_routing_proxy(
    phone, kamailio, tmp_path, callers, callees, hanging_up
):
    proxy = kamailio(digest="SHA-256")
    heard = {name: tmp_path / f"{name}.wav" for name in ("alice", "bob")}

    async def answer(bob):
        incoming = await bob.next_call(20)
        async with await incoming.answer() as call:
            await converse(call, 880, heard["bob"])
            if hanging_up == "caller":
                async with asyncio.timeout(20):
                    await call.ended()
        return call

    async with (
        phone("alice", proxy=proxy.address, srtp=SDES, transport=callers) as alice,
        phone("bob", proxy=proxy.address, srtp=SDES, transport=callees) as bob,
        bob.registered(),
        asyncio.TaskGroup() as tasks,
    ):
        answering = tasks.create_task(answer(bob))
        async with alice.call("sip:bob@example.test") as call:
            await converse(call, 440, heard["alice"])
            if hanging_up == "callee":
                async with asyncio.timeout(20):
                    await call.ended()
    for ended in (call, answering.result()):
        report = ended.report().to_dict()
        assert report["outcome"] == "SUCCESS"
        assert report["media"][0]["keying"] == "sdes"
        assert report["media"][0]["receive"]["srtp_decrypt_failures"] == 0
    assert_heard(heard["alice"], 880)
    assert_heard(heard["bob"], 440)
    # The BYE went the way of the Record-Route, not straight to the Contact.
    [bye] = [entry.text for entry in alice.messages if entry.text.startswith("BYE ")]
    if hanging_up == "caller":
        # Two of them where the transport changes on the way; an INVITE of more than 1,300 octets
        # has gone by TCP.
        went = [entry for entry in alice.messages if entry.text.startswith("INVITE ")][-1]
        same = went.transport.lower() == callees
        assert bye.count(f"Route: <sip:{proxy.address};") == (1 if same else 2)
    else:
        assert f"Via: SIP/2.0/{callers.upper()} {proxy.address};" in bye


@pytest.mark.interop("kamailio", "baresip")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_call_to_baresip_through_kamailio_is_heard_at_both_ends(
    phone, kamailio, baresip, tmp_path, transport
):
    proxy = kamailio()
    options = {"registrar": proxy.address, "transport": transport}
    bob = baresip("bob", encryption="srtp-mand", tone=880, **options)
    await proxy.bound("bob")
    heard = tmp_path / "heard.wav"
    async with phone(proxy=proxy.address, srtp=SDES, transport=transport) as alice:
        async with alice.call("sip:bob@example.test") as call:
            await converse(call, 440, heard)
        report = call.report().to_dict()
    assert report["outcome"] == "SUCCESS"
    assert report["media"][0]["receive"]["srtp_decrypt_failures"] == 0
    assert_heard(heard, 880)
    assert_heard(await bob.heard(), 440)


@pytest.mark.interop("kamailio", "baresip")
async def test_a_call_from_baresip_through_kamailio_is_heard_at_both_ends(
    phone, kamailio, baresip, tmp_path
):
    proxy = kamailio()
    bob = baresip("bob", encryption="srtp-mand", tone=880, registrar=proxy.address)
    heard = tmp_path / "heard.wav"
    control = await bob.control()
    async with phone(proxy=proxy.address, srtp=SDES) as alice, alice.registered():
        await proxy.bound("bob")
        await control.command("dial", "sip:alice@example.test")
        incoming = await alice.next_call(20)
        incoming.ring()
        async with await incoming.answer() as call:
            await converse(call, 440, heard)
            await control.command("hangup")
            async with asyncio.timeout(20):
                await call.ended()
        report = call.report().to_dict()
    await control.close()
    assert report["outcome"] == "SUCCESS"
    assert report["media"][0]["receive"]["srtp_decrypt_failures"] == 0
    assert_heard(heard, 880)
    assert_heard(await bob.heard(), 440)
