"""tshark reads the captures that callmeter writes: SIP, DTLS with its keys, and RTP in clear."""

from __future__ import annotations

import asyncio
import re
import subprocess

import pytest

from callmeter import (
    CaptureConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    Stack,
    StackConfig,
    TlsConfig,
    Transport,
)
from callmeter.sdp.attributes import CryptoAttribute
from callmeter.srtp import CryptoLine, SrtpContext
from peers.certificates import Certificates
from peers.conversation import PATIENCE, UNHURRIED, exchange
from peers.tshark import decode

pytestmark = pytest.mark.interop("tshark")

REQUIRED = SrtpPolicy.REQUIRED
KEYS = {
    "plain": SrtpConfig(),
    "sdes": SrtpConfig(method=SrtpMethod.SDES, policy=REQUIRED),
    "dtls": SrtpConfig(method=SrtpMethod.DTLS, policy=REQUIRED),
}


@pytest.fixture
def record(phone, tmp_path):
    """A call with enough media and a digit; its report, and its capture as tshark decodes it."""

    async def call_and_trace(keys, capture, *, transport="udp", rtcp_mux=True):
        media = {"srtp": KEYS[keys], "rtcp_mux": rtcp_mux, "capture": capture}
        authority = Certificates()
        certificate, key = authority.server()
        shared = StackConfig(
            bind="127.0.0.1",
            timers=UNHURRIED,
            transports=(Transport.UDP, Transport.TCP, Transport.TLS),
            tls=TlsConfig(certificate=certificate, private_key=key),
        )
        settings = {"transport": transport, "certificates": authority, **media}

        async def answer(bob):
            incoming = await bob.next_call(20)
            incoming.ring()
            async with await incoming.answer() as call, asyncio.timeout(2 * PATIENCE):
                await call.ended()

        async with (
            Stack(shared) as stack,
            phone("alice", stack=stack, **settings) as alice,
            phone("bob", stack=stack, **settings) as bob,
            asyncio.TaskGroup() as tasks,
        ):
            port = stack.transport.listening(transport.upper())[1]
            tasks.create_task(answer(bob))
            target = f"sip:{bob.contact.user_text}@127.0.0.1:{port};transport={transport}"
            async with alice.call(target) as call:
                await exchange(call)
                await call.send_dtmf("5")
        path = tmp_path / "call.pcapng"
        call.trace(path)
        return call, decode(path, [])

    return call_and_trace


def assert_whole(messages):
    """All messages of the call are there; the answers to INVITE and PRACK may cross."""
    assert [word for word in messages if word.isalpha()] == ["INVITE", "PRACK", "ACK", "BYE"]
    assert [word for word in messages if word.isdigit()] == ["180", "200", "200", "200"]


def counted(call):
    """Packets of the call by direction."""
    statistics = call.media.statistics()
    return statistics.send.packets_sent, statistics.receive.packets_received


def streams(decoded):
    """Payload types, sequence numbers and payloads by SSRC."""
    found = {}
    for ssrc, kind, sequence, payload in decoded.fields(
        "rtp.ssrc", "rtp.ssrc", "rtp.p_type", "rtp.seq", "rtp.payload"
    ):
        found.setdefault(int(ssrc, 16), []).append((int(kind), int(sequence), payload))
    return found


@pytest.mark.parametrize("rtcp_mux", [True, False], ids=["mux", "two-ports"])
@pytest.mark.parametrize("keys", KEYS)
async def test_the_media_of_a_call_is_readable_whatever_its_keys(record, keys, rtcp_mux):
    call, decoded = await record(keys, CaptureConfig(), rtcp_mux=rtcp_mux)
    assert decoded.malformed() == []
    assert_whole(decoded.methods())
    assert decoded.count("srtp.enc_payload") == 0
    sent, received = counted(call)
    by_ssrc = streams(decoded)
    own, peer = by_ssrc[call.media.statistics().ssrc], by_ssrc[call.media.statistics().remote_ssrc]
    assert (len(own), len(peer)) == (sent, received)
    assert {kind for kind, *_ in own} == {0, 101}
    assert {kind for kind, *_ in peer} == {0}
    # A tone of 440 Hz at 8 kHz repeats itself; a ciphertext does not.
    audio = [payload for kind, _, payload in own if kind == 0]
    assert {len(payload) for payload in audio} == {320}
    assert len(set(audio)) < len(audio) / 2
    assert decoded.count("rtpevent.event_id == 5") >= 3
    assert decoded.count("rtcp.pt == 203") >= 1
    assert (decoded.count("dtls.handshake.type == 1") > 0) is (keys == "dtls")


async def test_messages_of_a_connection_are_read_as_a_stream(record):
    _, decoded = await record("plain", CaptureConfig(), transport="tcp")
    assert decoded.malformed() == []
    assert_whole(decoded.methods())
    assert decoded.count("sip && tcp") == 8
    assert decoded.count("tcp.analysis.flags") == 0


async def test_messages_inside_tls_are_read_too(record):
    call, decoded = await record("sdes", CaptureConfig(), transport="tls")
    assert decoded.malformed() == []
    assert_whole(decoded.methods())
    assert decoded.count("sip && exported_pdu") == 8
    assert {row[0] for row in decoded.fields("sip.CSeq", "exported_pdu.port_type")} == {"2"}
    assert len(streams(decoded)) == 2
    assert call.report().signaling.transport == "TLS"


@pytest.mark.parametrize("keys", ["sdes", "dtls"])
async def test_without_decryption_the_wire_is_there_as_it_was(record, keys):
    call, decoded = await record(keys, CaptureConfig(decrypt=False))
    assert decoded.malformed() == []
    assert decoded.count("srtp.enc_payload") == sum(counted(call))
    assert len({row[0] for row in decoded.fields("srtp.enc_payload", "srtp.enc_payload")}) >= 100
    assert b"inline:x" in decoded.file.read_bytes() or keys == "dtls"


def exported(path):
    """The secrets in the file, as other programs get at them."""
    octets = path.read_bytes()
    return re.findall(rb"CLIENT_RANDOM [0-9a-f ]+|# SRTP \w+: a=crypto:[^\n]+", octets)


def handshake(path):
    """What tshark shows of DTLS.

    It forgets a handshake (4.0) in whose middle an SDP tells it of the port: so without SIP.
    """
    command = ["tshark", "-n", "-r", path, "--disable-protocol", "sip", "-Y", "dtls"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


async def test_the_exported_keys_of_dtls_open_the_handshake(record):
    wanted = CaptureConfig(decrypt=False, secrets=True)
    _, decoded = await record("dtls", wanted)
    assert decoded.malformed() == []
    assert [line.split()[0] for line in exported(decoded.file)] == [b"CLIENT_RANDOM", b"#", b"#"]
    shown = handshake(decoded.file)
    assert shown.count("Finished") == 2
    assert "Close Notify" in shown
    assert "Encrypted Handshake Message" not in shown


@pytest.mark.parametrize("keys", ["sdes", "dtls"])
async def test_the_exported_keys_of_srtp_open_the_packets_on_the_wire(record, keys):
    call, decoded = await record(keys, CaptureConfig(decrypt=False, secrets=True))
    lines = [line for line in exported(decoded.file) if line.startswith(b"# SRTP")]
    contexts = [
        SrtpContext(
            CryptoLine.from_attribute(
                CryptoAttribute.parse(line.decode().partition("a=crypto:")[2])
            ),
            "receive",
        )
        for line in lines
    ]
    opened = [0, 0]
    for ssrc, octets in decoded.fields("srtp.enc_payload", "rtp.ssrc", "udp.payload"):
        received = int(ssrc, 16) != call.media.statistics().ssrc
        opened[received] += contexts[received].unprotect(bytes.fromhex(octets)) is not None
    assert tuple(opened) == counted(call)
