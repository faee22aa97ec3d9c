"""The name server that other tests ask."""

from __future__ import annotations

import asyncio
import socket

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from callmeter.testing.name_server import NameServer


async def ask(server, name, kind="A", *, by=dns.asyncquery.udp):
    query = dns.message.make_query(name, kind)
    return await by(query, "127.0.0.1", port=server.port, timeout=2)


async def test_it_serves_its_zone_by_udp_and_tcp_and_notes_what_was_asked():
    async with NameServer("pbx A 192.0.2.1") as server:
        for by in (dns.asyncquery.udp, dns.asyncquery.tcp):
            answer = await ask(server, "pbx.example.test", by=by)
            assert [str(rrset) for rrset in answer.answer] == [
                "pbx.example.test. 60 IN A 192.0.2.1"
            ]
        assert server.asked == ["A pbx.example.test"] * 2
        assert server.by_tcp == ["A pbx.example.test"]
        assert server.address == f"127.0.0.1:{server.port}"


async def test_a_name_above_a_record_exists_without_data():
    async with NameServer("_sip._udp SRV 0 0 5060 pbx") as server:
        assert (await ask(server, "_udp.example.test")).rcode() == dns.rcode.NOERROR
        assert (await ask(server, "_tcp.example.test")).rcode() == dns.rcode.NXDOMAIN
        assert (await ask(server, "example.com")).rcode() == dns.rcode.REFUSED


async def test_what_is_no_question_is_not_answered():
    async with NameServer("") as server:
        assert server.answer(b"hello", datagram=True) is None


async def test_a_question_by_tcp_may_come_in_pieces_and_silence_leaves_it_unanswered():
    async with NameServer("pbx A 192.0.2.1") as server:
        server.silent = True
        wire = dns.message.make_query("pbx.example.test", "A").to_wire()
        data = len(wire).to_bytes(2, "big") + wire
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for piece in (data[:1], data[1:10], data[10:]):
            writer.write(piece)
            await turns(5)
        assert server.by_tcp == ["A pbx.example.test"]
        server.close()
        with pytest.raises(asyncio.IncompleteReadError):
            await reader.readexactly(1)
        writer.close()
        await writer.wait_closed()


async def turns(count):
    """Let the loop carry what was written across loopback."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_an_answer_that_is_late_for_a_closed_server_is_dropped():
    async with NameServer("pbx A 192.0.2.1") as server:
        server.close()
        server._reply(b"late", ("127.0.0.1", 9))


async def test_it_does_not_start_on_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = NameServer("")
        server.port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await server.__aenter__()
    await asyncio.sleep(0)
