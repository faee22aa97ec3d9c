"""One question to one name server on loopback: what is understood, what is given up and why."""

from __future__ import annotations

import asyncio
import socket

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from callmeter.sip.server_location import AddressRecord, NaptrRecord, Question, SrvRecord
from callmeter.testing.name_server import NameServer
from callmeter.transport import dns_exchange
from callmeter.transport.dns_exchange import Alias, NameServerFailed, NameServerSilent, ask_server

ZONE = """\
host 7 A 192.0.2.1
host 9 A 192.0.2.2
host AAAA 2001:db8::1
sip NAPTR 10 20 "s" "SIPS+D2T" "" _Sips._tcp.sip
enum NAPTR 10 20 "u" "E2U+sip" "!^.*$!sip:\\\\1@x!" .
_sips._tcp.sip 300 SRV 10 60 5061 Host
_sip._udp.none SRV 0 0 0 .
one 30 CNAME two
two 20 CNAME host
away 40 CNAME pbx.elsewhere.test.
circle CNAME round
round CNAME circle
text TXT "v=1"
"""
LONG_ZONE = "\n".join(f"_sip._udp SRV {number} 10 5060 host{number}" for number in range(60))
HUGE_ZONE = "\n".join(f"_sip._udp SRV {number} 10 5060 host{number}" for number in range(900))


@pytest.fixture
async def server():
    async with NameServer(ZONE) as running:
        yield running


async def ask(server, kind, name, seconds=2.0):
    return await ask_server(("127.0.0.1", server.port), Question(name, kind), seconds)


async def test_addresses_come_with_the_time_they_may_be_kept(server):
    answer = await ask(server, "A", "host.example.test")
    assert {record.address for record in answer.records} == {"192.0.2.1", "192.0.2.2"}
    assert answer.ttl == 7.0
    assert (await ask(server, "AAAA", "host.example.test")).records == (
        AddressRecord("2001:db8::1"),
    )


async def test_naptr_and_srv_records_are_read_with_names_in_lower_case(server):
    answer = await ask(server, "NAPTR", "sip.example.test")
    assert answer.records == (
        NaptrRecord(10, 20, "s", "SIPS+D2T", "", "_sips._tcp.sip.example.test"),
    )
    answer = await ask(server, "NAPTR", "enum.example.test")
    assert answer.records == (NaptrRecord(10, 20, "u", "E2U+sip", r"!^.*$!sip:\1@x!", "."),)
    answer = await ask(server, "SRV", "_sips._tcp.sip.example.test")
    assert answer.records == (SrvRecord(10, 60, 5061, "host.example.test"),)
    assert answer.ttl == 300.0
    answer = await ask(server, "SRV", "_sip._udp.none.example.test")
    assert answer.records == (SrvRecord(0, 0, 0, "."),)


async def test_no_such_record_is_told_from_no_such_name(server):
    assert (await ask(server, "NAPTR", "host.example.test")).outcome == "no-data"
    assert (await ask(server, "A", "nobody.example.test")).outcome == "nxdomain"


async def test_aliases_are_followed_within_an_answer_and_the_shortest_ttl_counts(server):
    question = Question("one.example.test", "A")
    answer = await ask(server, "A", question.name)
    assert answer.question == question
    assert len(answer.records) == 2
    assert answer.ttl == 7.0


async def test_an_alias_that_leads_elsewhere_is_given_back_to_be_asked(server):
    assert await ask(server, "A", "away.example.test") == Alias("pbx.elsewhere.test", 40)


async def test_aliases_in_a_circle_are_cut(server):
    with pytest.raises(NameServerFailed, match="aliases in a circle"):
        await ask(server, "A", "circle.example.test")


async def test_an_answer_that_was_cut_short_is_asked_for_again_by_tcp(server):
    server.truncates = True
    assert len((await ask(server, "A", "host.example.test")).records) == 2
    assert server.by_tcp == ["A host.example.test"]


async def test_edns_carries_what_512_octets_do_not():
    async with NameServer("\n".join(LONG_ZONE.splitlines()[:25])) as server:
        assert len((await ask(server, "SRV", "_sip._udp.example.test")).records) == 25
        assert server.by_tcp == []


async def test_an_answer_too_long_for_edns_comes_by_tcp():
    async with NameServer(LONG_ZONE) as server:
        assert len((await ask(server, "SRV", "_sip._udp.example.test")).records) == 60
        assert server.by_tcp == ["SRV _sip._udp.example.test"]


async def test_an_answer_of_no_sane_length_is_not_read():
    async with NameServer(HUGE_ZONE) as server:
        with pytest.raises(NameServerFailed, match="at most 8192 are read"):
            await ask(server, "SRV", "_sip._udp.example.test")


async def test_a_server_from_before_edns_is_asked_without_it(server):
    server.knows_edns = False
    assert len((await ask(server, "A", "host.example.test")).records) == 2
    assert len(server.asked) == 2


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP"])
async def test_an_error_code_is_named_with_the_server(server, rcode):
    server.rcode = rcode
    with pytest.raises(NameServerFailed, match=f"127.0.0.1:{server.port} answered {rcode}"):
        await ask(server, "A", "host.example.test")


async def test_silence_ends_in_its_time(server):
    server.silent = True
    with pytest.raises(NameServerSilent, match=r"did not answer in 0\.05 s"):
        await ask(server, "A", "host.example.test", seconds=0.05)


async def test_a_closed_port_is_known_at_once(server):
    server.close()
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        with pytest.raises(NameServerFailed, match="refused") as caught:
            await ask(server, "A", "host.example.test", seconds=30)
    assert not isinstance(caught.value, NameServerSilent)


async def test_a_server_that_is_asked_for_a_domain_it_has_not_fails(server):
    def referral(wire):
        message = dns.message.from_wire(wire)
        message.flags &= ~dns.flags.AA
        message.set_rcode(dns.rcode.NOERROR)
        return message.to_wire()

    server.rewrite = referral
    with pytest.raises(NameServerFailed, match="does not know this domain"):
        await ask(server, "A", "www.example.com")


@pytest.mark.parametrize("name", ["a" * 64, "..", "a." * 130, "x" * 300])
async def test_what_is_no_domain_name_is_not_asked(server, name):
    with pytest.raises(NameServerFailed, match="no domain name"):
        await ask(server, "A", name)
    assert server.asked == []


async def test_datagrams_that_are_no_answer_are_passed_over(server):
    """Late or forged ones: another number, another question, too short."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as fake:
        fake.bind(("127.0.0.1", 0))
        fake.settimeout(0)
        server.port = fake.getsockname()[1]
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(ask(server, "A", "host.example.test"))
            data, client = await loop.sock_recvfrom(fake, 4096)
            query = dns.message.from_wire(data)
            good = dns.message.make_response(query)
            good.flags |= dns.flags.AA
            good.answer.append(
                dns.rrset.from_text("host.example.test.", 60, "IN", "A", "192.0.2.9")
            )
            forged = dns.message.make_response(query)
            forged.id ^= 1
            other = dns.message.make_response(dns.message.make_query("x.test", "A", id=query.id))
            for wire in (forged.to_wire(), other.to_wire(), data[:2], good.to_wire()):
                await loop.sock_sendto(fake, wire, client)
    assert asking.result().records == (AddressRecord("192.0.2.9"),)


async def test_a_server_that_sends_nothing_but_strays_is_given_up(server):
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as fake:
        fake.bind(("127.0.0.1", 0))
        fake.settimeout(0)
        server.port = fake.getsockname()[1]
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(ask_or_error(server))
            _, client = await loop.sock_recvfrom(fake, 4096)
            for _ in range(16):
                await loop.sock_sendto(fake, b"stray", client)
    assert "no answer to the question" in asking.result()


async def ask_or_error(server):
    try:
        return str(await ask(server, "A", "host.example.test"))
    except NameServerFailed as error:
        return str(error)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "connection ended"),
        (b"\x00\x20half", "connection ended"),
        (b"\x00\x03abc", "not a DNS message"),
    ],
)
async def test_a_tcp_answer_that_is_none(server, sent, said):
    server.truncates = True

    async def answer(reader, writer):
        await reader.readexactly(20)
        writer.write(sent)
        writer.close()

    server._server.close()
    other = await asyncio.start_server(answer, "127.0.0.1", server.port)
    assert said in await ask_or_error(server)
    other.close()


async def test_a_tcp_answer_to_another_question_is_refused(server):
    def cut_or_turn(wire):
        if wire[2] & 2:
            return wire
        return bytes([wire[0] ^ 255]) + wire[1:]

    server.truncates = True
    server.rewrite = cut_or_turn
    assert "no answer to the question" in await ask_or_error(server)


async def test_ipv6_name_servers_are_written_in_brackets():
    with pytest.raises(NameServerFailed, match=r"\[::1\]:1: "):
        await ask_server(("::1", 1), Question("host.example.test", "A"), 1.0)


# what strangers send


QUESTION = Question("host.example.test", "A")


def answer_wire():
    query = dns.message.make_query("host.example.test", "A", id=7)
    message = dns.message.make_response(query)
    message.answer.append(
        dns.rrset.from_text("host.example.test.", 9, "IN", "CNAME", "two.example.test.")
    )
    message.answer.append(dns.rrset.from_text("two.example.test.", 9, "IN", "A", "192.0.2.1"))
    return message.to_wire()


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
@example(data=None)
def test_no_octets_make_reading_fail_in_another_way(data):
    wire = bytearray(answer_wire())
    if data is not None:
        for _ in range(data.draw(st.integers(1, 6))):
            wire[data.draw(st.integers(2, len(wire) - 1))] = data.draw(st.integers(0, 255))
        del wire[data.draw(st.integers(12, len(wire))) :]
    name = dns_exchange.dns.name.from_text(QUESTION.name)
    try:
        message = dns_exchange._parse(bytes(wire))
        dns_exchange._read(message, name, QUESTION)
    except dns_exchange._Unusable:
        pass
