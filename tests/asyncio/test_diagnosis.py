"""Live calls in which one thing is wrong: the diagnosis names it, and nothing else."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from callmeter import call_setup
from callmeter.config import MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy, SrtpSuite
from callmeter.errors import CallmeterError, FingerprintMismatch, NoCommonSuite
from callmeter.metrics.report import FindingStatus
from callmeter.rtp.header import pack_header
from callmeter.sip.message import Response
from callmeter.srtp import CryptoLine, SrtpContext, for_suite, generate

PATIENCE = 20
LOOPBACK = "127.0.0.1"
SOON_S = 2.0
SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
OFFERED = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.OFFERED))
PLAIN = MediaConfig()
FRAME = bytes(range(160))
SSRC = 0xCAFE
REPORT = bytes.fromhex("80c90001 0000cafe")


def bad(call):
    """What the checks find fault with: identifier and status."""
    return {
        finding.check: finding.status.value
        for finding in call.diagnosis()
        if finding.status in {FindingStatus.WARN, FindingStatus.FAIL}
    }


@pytest.fixture
def named(standstill):
    """Wait until the diagnosis says so: within two seconds of media."""

    async def wait(call, expected):
        loop = asyncio.get_running_loop()
        begun, lost = loop.time(), standstill.seconds
        while bad(call) != expected:
            if loop.time() - begun > SOON_S + standstill.seconds - lost:
                assert bad(call) == expected, call.diagnosis()
            await asyncio.sleep(0.02)
        return next((finding for finding in call.diagnosis() if finding.check in expected), None)

    return wait


@pytest.fixture
def connected(make_endpoint):
    """A call between two endpoints of ours; both ends, while it runs."""

    @asynccontextmanager
    async def connect(alice_media, bob_media):
        alice = await make_endpoint("alice", media=alice_media)
        bob = await make_endpoint("bob", media=bob_media)

        async def answer():
            incoming = await bob.next_call(PATIENCE)
            await incoming.answer()
            return incoming

        answering = asyncio.ensure_future(answer())  # noqa: TID251
        async with asyncio.TaskGroup() as tasks, alice.call(str(bob.contact)) as call:
            incoming = await answering
            for end in (call, incoming):
                tasks.create_task(end.media.play())
            yield call, incoming

    return connect


class MediaPeer:
    """The media of a scripted peer: one socket, sending what the test says every 20 ms."""

    def __init__(self, bound):
        self._socket = bound
        self.port = bound.getsockname()[1]
        self.line = generate(for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_80), 1, lambda n: b"k" * n)
        self.context = SrtpContext(self.line, "send")

    def sdp(self, profile, *lines):
        attributes = "".join(f"{line}\r\n" for line in (*lines, "a=rtcp-mux"))
        return (
            f"v=0\r\no=- 1 1 IN IP4 {LOOPBACK}\r\ns=-\r\nc=IN IP4 {LOOPBACK}\r\nt=0 0\r\n"
            f"m=audio {self.port} {profile} 0\r\na=rtpmap:0 PCMU/8000\r\n{attributes}"
        ).encode()

    def secure_sdp(self):
        return self.sdp("RTP/SAVP", f"a=crypto:{self.line.to_attribute()}")

    def send(self, datagram, call):
        host, port = call.media.local.split(":")
        self._socket.sendto(datagram, (host, int(port)))

    async def stream(self, call, packet_of):
        sequence = 0
        while not call.over:
            sequence += 1
            header = pack_header(0, sequence, 160 * sequence, SSRC)
            for datagram in packet_of(sequence, header + FRAME):
                self.send(datagram, call)
            await asyncio.sleep(0.02)


@pytest.fixture
def media_peer():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK, 0))
        yield MediaPeer(bound)


@pytest.fixture
def scripted(make_endpoint, peer, media_peer):
    """A call to a peer that answers with `body` and then sends what `packet_of` gives."""

    @asynccontextmanager
    async def connect(media, body, packet_of):
        alice = await make_endpoint("alice", media=media)

        async def serve():
            while (request := await peer.receive()).method != "BYE":
                if request.method == "INVITE":
                    headers = [
                        ("Contact", f"<sip:peer@{LOOPBACK}:{peer.port}>"),
                        ("Content-Type", "application/sdp"),
                    ]
                    response = request.create_response(200, to_tag="p", headers=headers, body=body)
                    peer.reply(response.to_bytes().decode())
            peer.answer(request, 200)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve())
            async with alice.call(f"sip:peer@{LOOPBACK}:{peer.port}") as call:
                tasks.create_task(media_peer.stream(call, packet_of))
                yield call

    return connect


@pytest.mark.parametrize("media", [SECURE, PLAIN], ids=["sdes", "plain"])
async def test_a_call_that_is_well_has_nothing_to_mend(connected, media):
    async with connected(media, media) as (alice, bob):
        await asyncio.sleep(1.2)
        assert bad(alice) == bad(bob) == {}
    for end in (alice, bob):
        assert bad(end) == {}
        assert end.report().diagnosis == end.diagnosis()
        assert {"PASS", "WARN", "FAIL"}.isdisjoint(str(end.report()).split())


@pytest.mark.parametrize("change", ["hold", "rekey", "update"])
async def test_a_profile_that_is_left_of_an_own_dual_offer_is_not_put_down_to_the_peer(
    connected, change
):
    srtp = SrtpConfig(policy=SrtpPolicy.REQUIRED, method=SrtpMethod.DUAL)
    async with connected(MediaConfig(srtp=srtp), SECURE) as (alice, bob):
        assert alice.media.keying == "sdes"
        await getattr(alice, change)()
        assert "profile_right" not in bad(alice)
        if "profile_right" in bad(bob):
            (finding,) = [one for one in bob.diagnosis() if one.check == "profile_right"]
            assert "A new offer in the call has to fit too" in finding.remedy


@pytest.mark.parametrize("agreed", ["80", "32"])
async def test_a_peer_with_the_other_tag_length_is_named(named, connected, agreed):
    suite = SrtpSuite(f"AES_CM_128_HMAC_SHA1_{agreed}")
    media = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED, suites=(suite,)))
    async with connected(media, media) as (alice, bob):
        stream = bob.media.stream
        line = stream._parameters.srtp_send.line
        other = CryptoLine(1, line.profile.other_tag_length, line.keys)
        stream.start(replace(stream._parameters, srtp_send=SrtpContext(other, "send")))
        finding = await named(alice, {"tag_length": "fail"})
        assert suite in finding.detail
        assert bad(bob) == {}
    assert bad(alice) == {"tag_length": "fail"}
    assert "FAIL" in str(alice.report())
    assert finding.remedy in " ".join(str(alice.report()).split())


def altered(description, change):
    return re.sub(rb"(inline:)(\S+)", lambda found: found[1] + change(found[2]), description)


@pytest.fixture
def spoil(monkeypatch):
    """Have the descriptions of all responses changed on their way."""
    described = call_setup.session_description

    def install(change):
        def changed(message):
            body = described(message)
            return change(body) if isinstance(message, Response) else body

        monkeypatch.setattr(call_setup, "session_description", changed)

    return install


async def test_a_key_altered_on_its_way_is_named(named, connected, spoil):
    flip = lambda key: (b"B" if key[:1] == b"A" else b"A") + key[1:]
    spoil(lambda body: altered(body, flip))
    async with connected(SECURE, SECURE) as (alice, _):
        finding = await named(alice, {"key_intact": "fail"})
        assert "another key" in finding.detail
        assert "from UDP to TLS" in finding.remedy
    assert bad(alice) == {"key_intact": "fail"}


async def test_a_key_cut_on_its_way_is_named_in_the_report_of_the_error(make_endpoint, spoil):
    spoil(lambda body: altered(body, lambda key: key[:-4]))
    alice = await make_endpoint("alice", media=SECURE)
    bob = await make_endpoint("bob", media=SECURE)

    async def answer():
        await (await bob.next_call(PATIENCE)).answer()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        with pytest.raises(NoCommonSuite) as caught:
            async with alice.call(str(bob.contact)):
                pytest.fail("the call was answered")
    failed = [one for one in caught.value.report.diagnosis if one.status is FindingStatus.FAIL]
    assert [one.check for one in failed] == ["key_intact"]
    assert "27 octets" in failed[0].detail


async def test_a_content_length_that_cuts_the_key_is_named(make_endpoint, peer, media_peer):
    alice = await make_endpoint("alice", media=SECURE)
    line = f"a=crypto:{media_peer.line.to_attribute()}"
    body = media_peer.sdp("RTP/SAVP", "a=sendrecv") + line.encode()

    async def serve():
        invite = await peer.receive()
        headers = [
            ("Contact", f"<sip:peer@{LOOPBACK}:{peer.port}>"),
            ("Content-Type", "application/sdp"),
        ]
        answer = invite.create_response(200, to_tag="p", headers=headers, body=body).to_bytes()
        right, wrong = b"Content-Length: %d" % len(body), b"Content-Length: %d" % (len(body) - 4)
        peer.reply(answer.replace(right, wrong).decode())
        while (request := await peer.receive()).method != "BYE":
            pass
        peer.answer(request, 200)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve())
        with pytest.raises(NoCommonSuite) as caught:
            async with alice.call(f"sip:peer@{LOOPBACK}:{peer.port}"):
                pytest.fail("the call has media")
    failed = [one for one in caught.value.report.diagnosis if one.status is FindingStatus.FAIL]
    assert [one.check for one in failed] == ["key_intact"]
    assert f"Content-Length says {len(body) - 4}, and there were {len(body)}" in failed[0].detail


async def test_a_rekey_that_the_peer_ignores_is_named(named, connected):
    async with connected(SECURE, SECURE) as (alice, bob):
        await asyncio.sleep(0.2)
        stream = alice.media.stream
        line = stream._parameters.srtp_receive.line
        rekeyed = generate(line.profile, 1, lambda size: b"n" * size)
        stream.start(replace(stream._parameters, srtp_receive=SrtpContext(rekeyed, "receive")))
        await named(alice, {"rekey_followed": "fail"})
        await asyncio.sleep(2.5)
        assert bad(alice) == {"rekey_followed": "fail"}
        assert bad(bob) == {}


def another_digit(found):
    """Never the same one, whatever it was."""
    return found[0].translate(bytes.maketrans(b"0123456789ABCDEF", b"123456789ABCDEF0"))


async def test_a_fingerprint_altered_on_its_way_is_named_in_the_report_of_the_error(
    make_endpoint, spoil
):
    spoil(lambda body: re.sub(rb"(?<=fingerprint:sha-256 ).", another_digit, body))
    srtp = SrtpConfig(policy=SrtpPolicy.REQUIRED, method=SrtpMethod.DTLS)
    alice = await make_endpoint("alice", media=MediaConfig(srtp=srtp))
    bob = await make_endpoint("bob", media=MediaConfig(srtp=srtp))

    async def answer():
        incoming = await bob.next_call(PATIENCE)
        with suppress(CallmeterError):
            await incoming.answer()
            await incoming.ended()
        return incoming

    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer())
        with pytest.raises(FingerprintMismatch) as caught:
            async with alice.call(str(bob.contact)):
                pytest.fail("the call has media")
    # Whom it was hung up on is told why.
    told = answering.result()
    assert bad(told) == {"hung_up_normally": "warn"}
    (finding,) = [one for one in told.diagnosis() if one.check == "hung_up_normally"]
    assert "does not match fingerprint" in finding.detail
    failed = [one for one in caught.value.report.diagnosis if one.status is FindingStatus.FAIL]
    assert [one.check for one in failed] == ["fingerprint_valid"]
    assert "does not match fingerprint (the SDP says sha-256 " in failed[0].detail
    assert "the certificate has sha-256 " in failed[0].detail


async def test_plain_rtp_after_a_secure_answer_is_named(named, scripted, media_peer):
    plain = lambda _, packet: [packet]
    async with scripted(SECURE, media_peer.secure_sdp(), plain) as call:
        finding = await named(call, {"plain_for_secure": "fail"})
        assert "stripping encryption attributes" in finding.remedy
    assert bad(call) == {"plain_for_secure": "fail"}
    assert call.report().to_dict()["media"][0]["receive"]["packets_received"] == 0


async def test_srtp_where_plain_rtp_was_agreed_is_named(named, scripted, media_peer):
    secure = lambda _, packet: [media_peer.context.protect(packet)]
    async with scripted(PLAIN, media_peer.sdp("RTP/AVP"), secure) as call:
        await named(call, {"secure_for_plain": "fail"})
    assert bad(call) == {"secure_for_plain": "fail"}


async def test_rtcp_in_clear_beside_srtp_is_named(named, scripted, media_peer):
    def clear_rtcp(sequence, packet):
        reports = [REPORT] if sequence % 25 == 0 else []
        return [media_peer.context.protect(packet), *reports]

    async with scripted(SECURE, media_peer.secure_sdp(), clear_rtcp) as call:
        await named(call, {"srtcp_consistent": "fail"})
    assert bad(call) == {"srtcp_consistent": "fail"}


async def test_srtcp_with_the_wrong_e_bit_is_named(named, scripted, media_peer):
    line = media_peer.line
    clear = replace(line, parameters=replace(line.parameters, unencrypted_srtcp=True))
    other = SrtpContext(clear, "send")

    def unencrypted(sequence, packet):
        reports = [other.protect_rtcp(REPORT)] if sequence % 25 == 0 else []
        return [media_peer.context.protect(packet), *reports]

    async with scripted(SECURE, media_peer.secure_sdp(), unencrypted) as call:
        await named(call, {"srtcp_consistent": "fail"})
    assert bad(call) == {"srtcp_consistent": "fail"}


async def test_a_rollover_counter_that_is_reset_is_named(named, scripted, media_peer):
    ahead = SrtpContext(media_peer.line, "send")
    if not ahead.set_roc(SSRC, 1):
        pytest.skip("this build of libsrtp cannot set the counter")
    async with scripted(
        SECURE, media_peer.secure_sdp(), lambda _, packet: [ahead.protect(packet)]
    ) as call:
        await named(call, {"roc_consistent": "fail"})


async def test_media_that_flows_one_way_alone_is_named(named, scripted, media_peer):
    reports = lambda sequence, _: [REPORT] if sequence % 25 == 0 else []
    async with scripted(PLAIN, media_peer.sdp("RTP/AVP"), reports) as call:
        finding = await named(call, {"media_both_ways": "fail"})
        assert "none of the peer's was heard" in finding.detail
    assert bad(call) == {"media_both_ways": "fail"}


async def test_a_port_that_nothing_reaches_is_named(named, scripted, media_peer):
    async with scripted(PLAIN, media_peer.sdp("RTP/AVP"), lambda *_: []) as call:
        finding = await named(call, {"port_reachable": "fail"})
        assert "firewall" in finding.remedy
    assert bad(call) == {"port_reachable": "fail"}


async def test_encryption_that_was_given_up_is_named_and_nothing_fails(named, scripted, media_peer):
    async with scripted(OFFERED, media_peer.sdp("RTP/AVP"), lambda _, packet: [packet]) as call:
        await named(call, {"srtp_fallback": "warn"})
    assert bad(call) == {"srtp_fallback": "warn"}
