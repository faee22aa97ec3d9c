"""tshark: what callmeter sends is read by dissectors nobody here wrote."""

from __future__ import annotations

import asyncio
import functools
import itertools

import pytest

from callmeter import SrtpConfig, SrtpMethod, SrtpPolicy, Stack, StackConfig, Tone
from peers.conversation import PATIENCE, UNHURRIED, exchange
from peers.program import HOST, free_ports
from peers.tshark import decode

pytestmark = pytest.mark.interop("tshark")

SDES = SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED)


@pytest.fixture
def record_call(phone, capture):
    """One call between two endpoints with enough media both ways, as tshark decodes it."""
    return functools.partial(call_each_other, phone, capture)


async def call_each_other(phone, capture, *, meanwhile=None, **media):
    first = free_ports(8)
    # tshark takes the port above the answer's RTP port for RTCP, even where that is multiplexed:
    # the caller's RTP must not be there.
    ports_of = {"alice": (first, first + 3), "bob": (first + 4, first + 7)}

    async def answer(bob):
        incoming = await bob.next_call(20)
        incoming.ring()
        async with await incoming.answer() as call, asyncio.timeout(2 * PATIENCE):
            await call.media.play(Tone(880))  # until the call ends

    config = StackConfig(bind=HOST, timers=UNHURRIED)
    async with (
        Stack(config) as hers,
        Stack(config) as his,
        phone("alice", ports=ports_of["alice"], stack=hers, **media) as alice,
        phone("bob", ports=ports_of["bob"], stack=his, **media) as bob,
        asyncio.TaskGroup() as tasks,
    ):
        ports = [alice.contact.port, bob.contact.port]
        # Others use the loopback interface too.
        own = " or ".join(f"udp port {port}" for port in ports)
        recorded = capture(f"{own} or udp portrange {first}-{first + 7}")
        tasks.create_task(answer(bob))
        async with alice.call(f"sip:bob@127.0.0.1:{bob.contact.port}") as call:
            if meanwhile is not None:
                await meanwhile(call)
            await exchange(call)
    recorded.stop()
    return decode(recorded.file, ports)


@pytest.mark.parametrize("rtcp_mux", [False, True], ids=["two-ports", "rtcp-mux"])
async def test_a_clear_call_is_decoded_without_a_malformed_packet(record_call, rtcp_mux):
    decoded = await record_call(rtcp_mux=rtcp_mux)
    assert decoded.malformed() == []
    methods = decoded.methods()
    assert methods[0] == "INVITE"
    assert methods[-2:] == ["BYE", "200"]
    assert {"180", "200", "ACK"} <= set(methods)
    streams = decoded.rtp_streams()
    assert len(streams) == 2
    assert all(stream["packets"] >= 50 and stream["lost"] == 0 for stream in streams)
    assert decoded.count("rtcp.pt == 200 || rtcp.pt == 201") >= 2
    assert decoded.count("rtcp.pt == 202") >= 2
    assert decoded.count("rtcp.pt == 203") >= 1


async def test_the_media_clock_runs_by_the_packet_time(record_call):
    decoded = await record_call()
    rows = decoded.fields(
        "rtp.p_type == 0", "rtp.ssrc", "rtp.timestamp", "rtp.marker", "rtp.payload"
    )
    by_stream = {ssrc: [row[1:] for row in rows if row[0] == ssrc] for ssrc, *_ in rows}
    assert len(by_stream) == 2
    for packets in by_stream.values():
        stamps = [int(stamp) for stamp, _, _ in packets]
        steps = [(b - a) % 2**32 for a, b in itertools.pairwise(stamps)]
        # A sender that was held up leaves packets out, and its clock goes on.
        assert {step % 160 for step in steps} == {0}
        assert steps.count(160) > 0.8 * len(steps)
        assert [marker for _, marker, _ in packets].count("1") == 1
        assert {len(payload.replace(":", "")) // 2 for _, _, payload in packets} == {160}


async def test_a_secure_call_shows_no_speech_on_the_wire(record_call):
    decoded = await record_call(srtp=SDES)
    assert decoded.malformed() == []
    offers = decoded.fields("sdp", "sdp.media", "sdp.media_attr")
    assert len(offers) == 2
    assert all("RTP/SAVP" in media and "crypto" in attributes for media, attributes in offers)
    packets = decoded.fields("srtp.enc_payload", "srtp.enc_payload", "srtp.auth_tag")
    assert len(packets) >= 100
    assert {len(tag.replace(":", "")) * 4 for _, tag in packets} == {80}
    # A tone repeats itself on the wire; a ciphertext does not.
    assert len({payload for payload, _ in packets}) == len(packets)


async def test_feedback_is_decoded_as_what_it_was_sent_as(record_call):
    numbers = (65_530, 65_531, 2, 30)

    async def complain(call):
        for words in ("nack pli", "ccm fir", "nack sli"):
            call.media.send_feedback(words)
        call.media.send_feedback("nack", lost=numbers)

    words = ("nack", "nack pli", "nack sli", "ccm fir")
    decoded = await record_call(meanwhile=complain, feedback=True, feedback_messages=words)
    assert decoded.malformed() == []
    offered, answered = decoded.fields("sdp", "sdp.media_attr", "sdp.media")
    for attributes, media in (offered, answered):
        assert "RTP/AVPF" in media
        assert all(f"rtcp-fb:* {word}" in attributes for word in words)
    (asked,) = decoded.fields("rtcp.rtpfb.nack_pid", "rtcp.rtpfb.nack_pid", "rtcp.rtpfb.nack_blp")
    # tshark writes out what the masks mean, without the wrap of the numbers.
    assert [int(number) % 65_536 for number in asked[0].split(",")] == list(numbers)
    # Two after the first are marked in its mask, 2 being eight numbers on; 30 is too far away.
    masks = [int(mask, 0) for mask in asked[1].split(",")]
    assert masks == [1 << 0 | 1 << 7, 0]
    assert decoded.count("rtcp.psfb.fmt == 1") == 1
    assert decoded.count("rtcp.psfb.fmt == 2") == 1
    assert decoded.count("rtcp.psfb.fmt == 4") == 1


async def test_extended_reports_of_a_call_are_decoded_with_its_figures(record_call):
    calls = []

    async def keep(call):
        calls.append(call)

    decoded = await record_call(rtcp_mux=True, meanwhile=keep)
    assert decoded.malformed() == []
    assert decoded.count("rtcp.xr.bt == 4") >= 2
    names = ("rfactor", "moslq", "gmin", "jba", "burstduration", "esdelay")
    rows = decoded.fields("rtcp.xr.bt == 7", *(f"rtcp.xr.voipmetrics.{name}" for name in names))
    assert len(rows) >= 2
    read = {(int(r), round(float(mos) * 10), *map(int, more)) for r, mos, *more in rows}
    # What either end told last; how good a busy machine lets a call be is another matter.
    xr = calls[0].media.statistics().xr
    for block in (xr.told, xr.remote):
        figures = (block.r_factor, block.mos_lq, 16, 3, block.burst_duration)
        assert (*figures, block.end_system_delay) in read
    assert all(0 < r_factor <= 93 for r_factor, *_ in read)
