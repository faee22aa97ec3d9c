"""Chromium with JsSIP and with SIP.js: DTLS-SRTP, by our own ICE and through rtpengine."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from callmeter import (
    DtlsConfig,
    Endpoint,
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    SrtpSuite,
    Stack,
    StackConfig,
    TlsConfig,
    Tone,
    Transport,
)
from peers.browser import ITS_TONE, LIBRARIES
from peers.certificates import Certificates
from peers.conversation import OWN_TONE, assert_heard, exchanged
from peers.kamailio import DOMAIN, PASSWORD
from peers.program import HOST, free_ports

pytestmark = pytest.mark.interop("kamailio", "chromium")

# A handshake that fails is to say so before the patience of who waits for media is at its end.
HANDSHAKE = DtlsConfig(handshake_timeout=10)
WEBRTC = {
    "srtp": SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED, dtls=HANDSHAKE),
    "rtcp_mux": True,
    "feedback": True,
    "ice": True,
}
CM_80, GCM_128 = SrtpSuite.AES_CM_128_HMAC_SHA1_80, SrtpSuite.AEAD_AES_128_GCM
NAMES = {"jssip": "JsSIP", "sipjs": "SIP.js"}
LIBRARY = pytest.mark.parametrize("library", LIBRARIES)
CALLER = pytest.mark.parametrize("caller", ["callmeter", "browser"])


@pytest.fixture(scope="module")
def certificates():
    return Certificates()


@pytest.fixture
def carol(chromium):
    """The phone in the browser, registered at a proxy: `async with carol("jssip", proxy)`."""
    browser = chromium()

    def build(library, proxy):
        return browser.phone(
            library,
            server=f"wss://{proxy.reached_by('wss')}",
            uri=f"sip:carol@{DOMAIN}",
            user="carol",
            password=PASSWORD,
        )

    return build


@pytest.fixture
def leg(expect):
    """A row of the matrix: `leg("jssip", "browser")` has the browser call."""

    def build(library, caller, way="own ICE", **how):
        return expect(
            **{
                "peer": "chromium",
                "role": "caller" if caller == "browser" else "callee",
                "keying": "dtls",
                "suite": CM_80,
                "profile": "UDP/TLS/RTP/SAVPF",
                "rtcp_mux": True,
                "note": f"{NAMES[library]}, {way}",
                **how,
            }
        )

    return build


@asynccontextmanager
async def called(alice, page, caller, *headers):
    """The call between both, whoever calls, hung up at the end by the browser."""
    if caller == "callmeter":
        fields = dict(header.split(": ") for header in headers)
        call = await alice.invite(f"sip:carol@{DOMAIN}", headers=fields)
        await call.answered(20)
    else:
        await page.call(f"sip:alice@{DOMAIN}", *headers)
        incoming = await alice.next_call(20)
        call = await incoming.answer()
    async with call:
        await page.noted("confirmed")
        yield call
        await page.act("hangup")
        async with asyncio.timeout(20):
            await call.ended()


async def talk(call, page, heard):
    """Both ends hear the tone of the other one."""
    recorder = call.media.record(heard)
    async with asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(call.media.play(Tone(OWN_TONE)))
        # Beside each other: a call that ends fails at once, and does not leave the page waiting.
        listening = tasks.create_task(page.hears(OWN_TONE))
        await exchanged(call.media.stream, call=call)
        await listening
        playing.cancel()
    call.media.stream.detach(recorder)
    assert_heard(heard, ITS_TONE)


async def acknowledged(call):
    """Wait for the ACK of the last INVITE: until then no other may follow."""
    async with asyncio.timeout(20):
        while not call.messages[-1].text.startswith("ACK "):  # noqa: ASYNC110  another process
            await asyncio.sleep(0.01)


async def hold_and_resume(call, page):
    """Each end holds and resumes the call."""
    await page.act("hold")
    assert call.media.direction == "recvonly"
    await page.act("unhold")
    assert call.media.direction == "sendrecv"
    await acknowledged(call)
    await call.hold()
    assert call.media.direction == "sendonly"
    # SIP.js is not done with a re-INVITE when its 200 has left, and refuses the next one with 500
    # (RFC 3261 section 14.2). What is asked of the page is answered after that.
    await page.stats()
    await call.resume()
    assert call.media.direction == "sendrecv"


def assert_counted(report, *, ice, restarts=0):
    assert report["media"][0]["ice"] is ice
    assert report["counters"]["ice_restarts"] == restarts
    assert report["counters"]["hold_count"] == 2


def assert_secure(stats):
    """What the browser says of the same call; it would rather have DTLS 1.3 and takes 1.2."""
    assert stats["dtlsState"] == "connected"
    assert stats["tlsVersion"] == "FEFD"
    assert stats["srtpCipher"]
    assert stats["packetsReceived"] > 0
    assert stats["packetsLost"] == 0


@CALLER
@LIBRARY
async def test_a_browser_and_callmeter_talk_without_a_media_proxy(
    phone, kamailio, carol, certificates, leg, tmp_path, library, caller
):
    expected = leg(library, caller)
    proxy = kamailio(certificates=certificates)
    options = {"proxy": proxy.reached_by("wss"), "transport": "wss", "certificates": certificates}
    async with (
        phone("alice", **options, **WEBRTC) as alice,
        alice.registered(),
        carol(library, proxy) as page,
    ):
        async with called(alice, page, caller) as call:
            await talk(call, page, tmp_path / "before.wav")
            await hold_and_resume(call, page)
            await talk(call, page, tmp_path / "after.wav")
            stats = await page.stats()
        report = call.report().to_dict()
    assert_secure(stats)
    # Who is called starts the handshake; a hello of the browser takes two datagrams.
    assert stats["dtlsRole"] == ("client" if caller == "callmeter" else "server")
    expected.assert_met(report)
    assert_counted(report, ice=True)


@CALLER
@LIBRARY
@pytest.mark.parametrize("codec", ["opus", "G722"])
async def test_a_browser_and_callmeter_hear_each_other_in_each_codec(
    phone, kamailio, carol, certificates, leg, tmp_path, library, caller, codec
):
    expected = leg(library, caller, f"own ICE, {codec}")
    proxy = kamailio(certificates=certificates)
    options = {"proxy": proxy.reached_by("wss"), "transport": "wss", "certificates": certificates}
    async with (
        phone("alice", **options, **WEBRTC, codecs=(codec,)) as alice,
        alice.registered(),
        carol(library, proxy) as page,
    ):
        async with called(alice, page, caller) as call:
            await talk(call, page, tmp_path / "heard.wav")
            stats = await page.stats()
        report = call.report().to_dict()
    assert_secure(stats)
    expected.assert_met(report)
    assert report["media"][0]["codec"] == codec


@LIBRARY
async def test_an_ice_restart_of_the_browser_is_counted_and_audio_goes_on(
    phone, kamailio, carol, certificates, leg, tmp_path, library
):
    expected = leg(library, "browser")
    proxy = kamailio(certificates=certificates)
    async with (
        phone("alice", proxy=proxy.address, **WEBRTC) as alice,
        alice.registered(),
        carol(library, proxy) as page,
    ):
        async with called(alice, page, "browser") as call:
            await talk(call, page, tmp_path / "before.wav")
            before = (await page.stats())["selectedCandidatePairChanges"]
            await page.act("restartIce")
            await acknowledged(call)
            assert call.media.ice_restarts == 1
            await page.until(f"stats().then(s => s.selectedCandidatePairChanges > {before})")
            await talk(call, page, tmp_path / "after.wav")
            await hold_and_resume(call, page)
        report = call.report().to_dict()
    expected.assert_met(report)
    assert_counted(report, ice=True, restarts=1)


@LIBRARY
async def test_a_browser_calls_an_endpoint_that_listens_for_wss_itself(
    chromium, certificates, leg, tmp_path, library
):
    expected = leg(library, "browser", "own ICE, without a server between")
    certificate, key = certificates.server()
    tls = TlsConfig(certificate=certificate, private_key=key)
    port = free_ports()
    settings = StackConfig(bind=HOST, transports=(Transport.WSS,), wss_port=port, tls=tls)
    media = MediaConfig.webrtc_gateway()
    config = EndpointConfig(f"sip:alice@{HOST}", transport=Transport.WSS, media=media)
    browser = chromium()
    async with (
        Stack(settings) as stack,
        Endpoint(config, stack) as alice,
        browser.phone(
            library,
            server=f"wss://{HOST}:{port}",
            uri=f"sip:carol@{HOST}",
            user="carol",
            password=PASSWORD,
            register=False,
        ) as page,
    ):
        await page.call(f"sip:alice@{HOST}:{port};transport=ws")
        incoming = await alice.next_call(20)
        async with await incoming.answer() as call:
            await talk(call, page, tmp_path / "before.wav")
            await hold_and_resume(call, page)
            await talk(call, page, tmp_path / "after.wav")
        await page.noted("ended")
        report = call.report().to_dict()
    expected.assert_met(report)
    assert_counted(report, ice=True)


@pytest.mark.interop("kamailio", "chromium", "rtpengine")
@CALLER
@LIBRARY
async def test_a_browser_and_callmeter_talk_through_rtpengine(
    phone, kamailio, rtpengine, carol, certificates, leg, tmp_path, library, caller
):
    expected = leg(
        library,
        caller,
        "rtpengine between",
        # As the DTLS client of ours it takes what it likes best.
        suite=GCM_128 if caller == "browser" else CM_80,
        profile="UDP/TLS/RTP/SAVP",
    )
    proxy = kamailio(certificates=certificates, rtpengine=rtpengine().address)
    async with (
        phone("alice", proxy=proxy.address, srtp=WEBRTC["srtp"], rtcp_mux=True) as alice,
        alice.registered(),
        carol(library, proxy) as page,
    ):
        wanted = "webrtc" if caller == "callmeter" else "dtls"
        async with called(alice, page, caller, f"X-Media: {wanted}") as call:
            await talk(call, page, tmp_path / "before.wav")
            await hold_and_resume(call, page)
            await talk(call, page, tmp_path / "after.wav")
            assert_secure(await page.stats())
        report = call.report().to_dict()
    expected.assert_met(report)
    assert_counted(report, ice=False)
