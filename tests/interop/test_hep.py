"""sngrep, as a collector, understands the HEP packets that callmeter sends."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import (
    HepConfig,
    SrtpConfig,
    SrtpPolicy,
    Stack,
    StackConfig,
    TlsConfig,
    Transport,
)
from peers.certificates import Certificates
from peers.conversation import UNHURRIED
from peers.sngrep import Sngrep
from peers.tshark import decode

pytestmark = pytest.mark.interop("sngrep", "tshark")

SDES = SrtpConfig(policy=SrtpPolicy.REQUIRED)


@pytest.mark.parametrize("password", [None, "canary"])
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_a_collector_gets_every_message_of_a_call(phone, run, tmp_path, transport, password):
    collector = run(Sngrep(tmp_path / "sngrep", password=password))
    authority = Certificates()
    certificate, key = authority.server()
    shared = StackConfig(
        bind="127.0.0.1",
        timers=UNHURRIED,
        transports=(Transport.UDP, Transport.TCP, Transport.TLS),
        tls=TlsConfig(certificate=certificate, private_key=key),
        hep=HepConfig(f"127.0.0.1:{collector.port}", agent=2022, password=password),
    )
    settings = {"transport": transport, "certificates": authority, "srtp": SDES}
    async with (
        Stack(shared) as stack,
        phone("alice", stack=stack, **settings) as alice,
        phone("bob", stack=stack, **settings) as bob,
    ):

        async def answer():
            await (await bob.next_call(20)).answer()

        port = stack.transport.listening(transport.upper())[1]
        target = f"sip:{bob.contact.user_text}@127.0.0.1:{port};transport={transport}"
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(answer())
            async with alice.call(target) as call:
                pass
        logged = [*alice.messages, *bob.messages]
    # sngrep writes each message when it has understood it.
    async with asyncio.timeout(20):
        while collector.file.read_bytes().count(b"\r\nCall-ID: ") < len(logged):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    collector.stop()
    heard = decode(collector.file, [port])
    assert heard.malformed() == []
    assert sorted(heard.methods()) == sorted(2 * ["INVITE", "200", "ACK", "BYE", "200"])
    assert {row[0] for row in heard.fields("sip", "sip.Call-ID")} == {call.call_id}
