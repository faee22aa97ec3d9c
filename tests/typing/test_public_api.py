"""What a type checker sees of the public names. mypy reads this; nothing here is run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, assert_type

from callmeter import (
    Call,
    CallFailed,
    CallmeterError,
    CallRejected,
    CallReport,
    ConfigurationError,
    Credentials,
    Endpoint,
    EndpointConfig,
    IncomingCall,
    MediaConfig,
    MediaSession,
    NoCommonSuite,
    Outcome,
    Phase,
    Registration,
    SipSyntaxError,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    SrtpSuite,
    Stack,
    StackConfig,
    Tone,
    Transport,
    WavRecorder,
)
from callmeter.events import CallEvent
from callmeter.rtp import PacketKind, classify
from callmeter.sdp import SessionDescription, parse_description
from callmeter.sip import Request, Response, parse_message

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


def check_configuration() -> None:
    media = MediaConfig(
        srtp=SrtpConfig(
            method=SrtpMethod.DUAL,
            policy=SrtpPolicy.REQUIRED,
            suites=(SrtpSuite.AES_CM_128_HMAC_SHA1_80,),
        )
    )
    config = EndpointConfig(
        "sip:alice@example.com", credentials=Credentials("alice", "s3cret"), media=media
    )
    assert_type(config.credentials, Credentials | None)
    assert_type(config.transport, Transport)
    assert_type(config.with_media(rtcp_mux=True), EndpointConfig)
    for preset in (
        MediaConfig.lab(),
        MediaConfig.sip_trunk(),
        MediaConfig.enterprise(),
        MediaConfig.webrtc_gateway(),
        MediaConfig.unknown_peer(),
    ):
        assert_type(preset, MediaConfig)


async def check_calls(config: EndpointConfig) -> None:
    async with Endpoint(config) as alice, alice.registered() as binding:
        assert_type(alice, Endpoint)
        assert_type(binding, Registration)
        answered: AbstractAsyncContextManager[Call] = alice.call("sip:bob@example.com")
        del answered
        async with alice.call("sip:bob@example.com", ring_timeout=10) as call:
            assert_type(call, Call)
            assert_type(call.media, MediaSession)
            assert_type(call.events(), AsyncIterator[CallEvent])
            assert_type(call.media.record("heard.wav"), WavRecorder)
            assert_type(await call.media.play(Tone(440), seconds=5), float)
            assert_type(call.phase, Phase)
            assert_type(call.outcome, Outcome | None)
        assert_type(call.report(), CallReport)
        assert_type(call.report().to_dict(), dict[str, Any])
        assert_type(await alice.invite("bob"), Call)
        assert_type(await alice.options("sip:bob@example.com"), Response)


async def check_incoming(config: EndpointConfig) -> None:
    async with Stack(StackConfig(bind="127.0.0.1")) as stack, Endpoint(config, stack=stack) as bob:
        assert_type(bob.incoming(), AsyncIterator[IncomingCall])
        assert_type(await bob.next_call(1.0), IncomingCall)
        async for incoming in bob.incoming():
            incoming.ring()
            incoming.reject(486)
            assert_type(await incoming.answer(), IncomingCall)


def check_errors(
    rejected: CallRejected, suites: NoCommonSuite, syntax: SipSyntaxError, wrong: ConfigurationError
) -> None:
    assert_type(rejected.status, int)
    assert_type(rejected.reason, str)
    assert_type(rejected.retry_after, int | None)
    assert_type(suites.offered, tuple[str, ...])
    assert_type(syntax.excerpt, bytes)
    failed: CallFailed = rejected
    root: CallmeterError = failed
    value: ValueError = wrong
    del root, value


def check_parsers(data: bytes) -> None:
    assert_type(parse_message(data), Request | Response)
    assert_type(parse_description(data), SessionDescription)
    assert_type(classify(data), PacketKind)
