"""AUTO with real name servers and kamailio: TLS first, then TCP, then UDP (RFC 3263)."""

from __future__ import annotations

import asyncio
import signal

import pytest

from callmeter import MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy, Stack, StackConfig, Tone
from peers.certificates import Certificates
from peers.dns import Bind, Knot
from peers.tone import loudest

pytestmark = pytest.mark.interop("kamailio")

SDES = SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED)
SERVERS = [
    pytest.param(Knot, marks=pytest.mark.interop("kamailio", "knot"), id="knot"),
    pytest.param(Bind, marks=pytest.mark.interop("kamailio", "bind"), id="bind"),
]


@pytest.fixture(scope="module")
def certificates():
    return Certificates()


@pytest.fixture
def proxy(kamailio, certificates):
    return kamailio(certificates=certificates)


@pytest.fixture
def records(proxy):
    """The domain itself, led to kamailio's ports."""
    ports = {name: proxy.reached_by(name).rpartition(":")[2] for name in ("tls", "tcp", "udp")}
    return f"""
@ IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp
@ IN NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp
@ IN NAPTR 30 10 "s" "SIP+D2U" "" _sip._udp
_sips._tcp IN SRV 10 100 {ports["tls"]} four
_sip._tcp IN SRV 10 100 {ports["tcp"]} four
_sip._udp IN SRV 10 100 {ports["udp"]} four
"""


@pytest.fixture(params=SERVERS)
def server(request, run, tmp_path, records):
    return run(request.param(tmp_path / "dns", records=records))


@pytest.fixture
async def stack(server):
    config = StackConfig(bind="127.0.0.1", name_servers=(server.address,))
    async with Stack(config) as running:
        yield running


@pytest.fixture
def user(phone, stack, certificates):
    return lambda name: phone(
        name,
        domain="example.test",
        registrar="sip:example.test",
        transport="auto",
        certificates=certificates,
        stack=stack,
        srtp=SDES,
    )


async def answer(bob, seconds):
    incoming = await bob.next_call(15)
    async with await incoming.answer() as call:
        await call.media.play(Tone(880), seconds=seconds)
        async with asyncio.timeout(20):
            await call.ended()
    return call


@pytest.mark.parametrize(
    ("switched_on", "chosen"),
    [
        (("udp", "tcp", "tls"), "TLS"),
        (("udp", "tcp"), "TCP"),
        (("udp",), "UDP"),
    ],
)
async def test_tls_is_chosen_then_tcp_then_udp_as_each_is_switched_off(
    user, proxy, tmp_path, switched_on, chosen
):
    proxy.stop(signal.SIGKILL)
    proxy.transports = switched_on
    proxy.start()
    heard = tmp_path / "heard.wav"
    async with (
        user("alice") as alice,
        user("bob") as bob,
        bob.registered(),
        asyncio.TaskGroup() as tasks,
    ):
        [contact] = proxy.contacts("bob")
        assert (f";transport={chosen.lower()}" in contact) is (chosen != "UDP")
        answering = tasks.create_task(answer(bob, 1.2))
        async with alice.call("sip:bob@example.test") as call:
            call.media.record(heard)
            await call.media.play(Tone(440), seconds=1.2)
    report = call.report().to_dict()
    assert report["outcome"] == "SUCCESS"
    assert {one["status"] for one in report["diagnosis"]} <= {"pass", "skip"}
    assert answering.result().report().to_dict()["signaling"]["transport"] == chosen
    signaling = report["signaling"]
    assert signaling["transport"] == chosen
    assert (signaling["tls"] is not None) is (chosen == "TLS")
    asked = {(one["name"], one["type"]): one for one in signaling["resolution"]["asked"]}
    assert len(asked["example.test", "NAPTR"]["answers"]) == 3
    assert ("_sips._tcp.example.test", "SRV") in asked
    # Bob's REGISTER has found out which are closed: they are tried last.
    targets = [one["transport"] for one in signaling["resolution"]["targets"]]
    assert targets[0] == chosen
    assert set(targets) == {"TLS", "TCP", "UDP"}
    found, share = loudest(heard)
    assert found == pytest.approx(880, abs=5)
    assert share > 0.9


async def test_a_name_server_killed_in_a_call_takes_no_call_and_no_bye_away(user, server):
    async with (
        user("alice") as alice,
        user("bob") as bob,
        bob.registered() as binding,
        asyncio.TaskGroup() as tasks,
    ):
        answering = tasks.create_task(answer(bob, 0.2))
        async with alice.call("sip:bob@example.test") as call:
            server.stop(signal.SIGKILL)
            await call.media.play(Tone(440), seconds=0.5)
            await call.hold()
            await call.resume()
            await binding.refresh()
    for ended in (call, answering.result()):
        assert ended.report().to_dict()["outcome"] == "SUCCESS"
    assert any(entry.text.startswith("BYE ") for entry in bob.messages)


@pytest.mark.interop("kamailio", "sipp")
async def test_a_call_to_a_domain_without_records_falls_back_and_says_so(user, sipp):
    callee = sipp("uas", port=5060, user="service")
    async with user("alice") as alice:
        async with alice.call("sip:service@aonly.example.test", media=MediaConfig()) as call:
            await call.media.play(Tone(440), seconds=0.5)
        await callee.result()
    report = call.report().to_dict()
    assert report["outcome"] == "COMPLETED_WITH_WARNINGS"
    [found] = [one for one in report["diagnosis"] if one["check"] == "auto_fell_back"]
    assert found["status"] == "warn"
    resolution = report["signaling"]["resolution"]
    assert resolution["fell_back"] is True
    assert {one["type"] for one in resolution["asked"]} >= {"NAPTR", "SRV", "A"}
    assert report["signaling"]["transport"] == "UDP"
