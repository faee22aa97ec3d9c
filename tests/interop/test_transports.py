"""kamailio again, by every transport: registrations and calls over UDP, TCP, TLS and WSS."""

from __future__ import annotations

import asyncio
import signal

import pytest

from callmeter import (
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    SrtpSuite,
    Stack,
    StackConfig,
    TlsConfig,
    Transport,
)
from peers.certificates import Certificates
from peers.conversation import converse
from peers.tone import loudest

pytestmark = pytest.mark.interop("kamailio")

# One suite: an INVITE of more than 1,300 octets would go by TCP in place of UDP.
SDES = SrtpConfig(
    method=SrtpMethod.SDES,
    policy=SrtpPolicy.REQUIRED,
    suites=(SrtpSuite.AES_CM_128_HMAC_SHA1_80,),
)
TRANSPORTS = ["udp", "tcp", "tls", "wss"]
SECURE = {"tls", "wss"}
REFRESHED_S = 20
"""Until a binding of 5 s has surely been refreshed: that it is, is asserted, and not how soon."""


@pytest.fixture(scope="module")
def certificates():
    return Certificates()


@pytest.fixture
def proxy(kamailio, certificates):
    return kamailio(certificates=certificates)


@pytest.fixture
def user(phone, proxy, certificates):
    """An endpoint that reaches the proxy by one transport: `user("alice", "tls")`."""

    def build(name, transport, **options):
        return phone(
            name,
            proxy=proxy.reached_by(transport),
            transport=transport,
            certificates=certificates,
            srtp=SDES,
            **options,
        )

    return build


def assert_heard(recording, hertz):
    found, share = loudest(recording)
    assert found == pytest.approx(hertz, abs=5)
    assert share > 0.9


def assert_told(report, transport, remote):
    assert report["outcome"] == "SUCCESS"
    assert report["media"][0]["keying"] == "sdes"
    assert report["media"][0]["receive"]["srtp_decrypt_failures"] == 0
    signaling = report["signaling"]
    assert signaling["transport"] == transport.upper()
    assert signaling["remote"] in remote
    if transport in SECURE:
        assert signaling["tls"]["version"] == "TLSv1.3"
        assert signaling["tls"]["cipher"].startswith("TLS_")
        assert signaling["tls"]["verified"] is True
    else:
        assert signaling["tls"] is None


PAIRS = [(one, one) for one in TRANSPORTS] + [
    ("wss", "udp"),
    ("udp", "wss"),
    ("tls", "wss"),
    ("tls", "udp"),
    ("tcp", "tls"),
]


@pytest.mark.parametrize("hanging_up", ["caller", "callee"])
@pytest.mark.parametrize(("callers", "callees"), PAIRS)
async def test_a_call_is_held_resumed_and_ended_through_the_proxy(
    user, proxy, tmp_path, callers, callees, hanging_up
):
    heard = {name: tmp_path / f"{name}.wav" for name in ("alice", "bob")}
    held = asyncio.Event()

    async def answer(bob):
        incoming = await bob.next_call(20)
        async with await incoming.answer() as call:
            await held.wait()
            if hanging_up == "callee":
                await call.hold()
                await call.resume()
            await converse(call, 880, heard["bob"])
            if hanging_up == "caller":
                async with asyncio.timeout(20):
                    await call.ended()
        return call

    async with (
        user("alice", callers) as alice,
        user("bob", callees) as bob,
        bob.registered(),
        asyncio.TaskGroup() as tasks,
    ):
        answering = tasks.create_task(answer(bob))
        async with alice.call("sip:bob@example.test") as call:
            if hanging_up == "caller":
                await call.hold()
                assert call.media.on_hold
                await call.resume()
            held.set()
            await converse(call, 440, heard["alice"])
            if hanging_up == "callee":
                async with asyncio.timeout(20):
                    await call.ended()
    assert_told(call.report().to_dict(), callers, {proxy.reached_by(callers)})
    # To a listening TCP port the proxy opens a connection of its own.
    peers = {entry.peer for entry in bob.messages}
    assert len(peers) == (2 if callees == "tcp" else 1)
    assert_told(answering.result().report().to_dict(), callees, peers)
    assert_heard(heard["alice"], 880)
    assert_heard(heard["bob"], 440)
    for endpoint, transport in ((alice, callers), (bob, callees)):
        log = list(endpoint.messages)
        assert {entry.transport for entry in log} == {transport.upper()}
        answers = {entry.text[8:11] for entry in log if entry.text.startswith("SIP/2.0 ")}
        assert answers <= {"100", "200", "401", "407"}
        if transport in SECURE:
            # All of it on one connection.
            assert {(entry.local, entry.peer) for entry in log} == {
                (log[0].local, proxy.reached_by(transport))
            }


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_registration_is_refreshed_in_time_and_removed(user, proxy, transport):
    async with user("alice", transport) as alice:
        async with alice.registered(expires=5) as binding:
            [contact] = proxy.contacts("alice")
            word = "ws" if transport == "wss" else transport
            assert (f";transport={word}" in contact) is (transport != "udp")
            async with asyncio.timeout(REFRESHED_S):
                while binding.refreshes < 1:  # noqa: ASYNC110  another process
                    await asyncio.sleep(0.1)
            assert len(proxy.contacts("alice")) == 1
        assert proxy.contacts("alice") == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_registrar_that_was_killed_and_comes_back_is_registered_at_again(
    user, proxy, transport
):
    async with (
        user("alice", transport) as alice,
        user("bob", transport) as bob,
        bob.registered(expires=5),
    ):
        assert len(proxy.contacts("bob")) == 1
        proxy.stop(signal.SIGKILL)
        proxy.start()
        assert proxy.contacts("bob") == []
        await proxy.bound("bob", seconds=REFRESHED_S)
        # And it is reached there.
        async with asyncio.TaskGroup() as tasks:
            ringing = tasks.create_task(bob.next_call(20))
            call = await alice.invite("sip:bob@example.test")
            async with call:
                incoming = await ringing
                async with await incoming.answer():
                    await call.answered(20)
    assert call.report().to_dict()["final_status_code"] == 200


# IPv6


@pytest.fixture
async def stack(certificates):
    """A stack that listens on ::1 by every transport."""
    certificate, key = certificates.server()
    config = StackConfig(
        bind="::1",
        transports=(Transport.UDP, Transport.TCP, Transport.TLS, Transport.WSS),
        tls=TlsConfig(certificate=certificate, private_key=key),
    )
    async with Stack(config) as running:
        yield running


@pytest.mark.interop
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_two_endpoints_talk_by_ipv6(phone, stack, certificates, tmp_path, transport):
    heard = {name: tmp_path / f"{name}.wav" for name in ("alice", "bob")}
    options = {"transport": transport, "certificates": certificates, "srtp": SDES}

    async def answer(bob):
        async with await (await bob.next_call(20)).answer() as call:
            await converse(call, 880, heard["bob"])
            async with asyncio.timeout(20):
                await call.ended()
        return call

    async with (
        Stack(StackConfig(bind="::1")) as other,
        phone("alice", stack=other, domain="[::1]", **options) as alice,
        phone("bob", stack=stack, domain="[::1]", **options) as bob,
        asyncio.TaskGroup() as tasks,
    ):
        answering = tasks.create_task(answer(bob))
        port = stack.transport.listening(transport.upper())[1]
        word = "ws" if transport == "wss" else transport
        async with alice.call(f"sip:bob@[::1]:{port};transport={word}") as call:
            await converse(call, 440, heard["alice"])
    for ended in (call, answering.result()):
        report = ended.report().to_dict()
        assert report["outcome"] == "SUCCESS"
        assert report["signaling"]["transport"] == transport.upper()
        assert report["media"][0]["local"].startswith("[::1]:")
        assert report["media"][0]["keying"] == "sdes"
    assert_heard(heard["alice"], 880)
    assert_heard(heard["bob"], 440)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_kamailio_is_registered_at_and_called_by_ipv6(
    phone, kamailio, certificates, transport
):
    proxy = kamailio(certificates=certificates, host="::1")
    async with (
        Stack(StackConfig(bind="::1")) as own,
        phone(
            proxy=proxy.reached_by(transport),
            transport=transport,
            certificates=certificates,
            stack=own,
        ) as alice,
        alice.registered(),
    ):
        assert len(proxy.contacts("alice")) == 1
        call = await alice.invite("sip:fail-486@example.test")
        async with call:
            await call.ended()
    assert call.report().to_dict()["final_status_code"] == 486
    assert call.report().to_dict()["signaling"]["remote"] == proxy.reached_by(transport)
