"""What a negotiation agrees on besides its keys, on sockets of this host."""

from __future__ import annotations

import secrets

import pytest

from callmeter.config import MediaConfig, SrtpConfig, SrtpPolicy
from callmeter.errors import ConfigurationError
from callmeter.media_negotiation import check_media
from callmeter.media_session import MediaSession
from callmeter.srtp import libsrtp

LOOPBACK = "127.0.0.1"


@pytest.fixture
def make(stack):
    opened = []

    def negotiation(**settings):
        config = MediaConfig(**settings)
        opened.append(MediaSession(stack.media, config, LOOPBACK, entropy=secrets.token_bytes))
        return opened[-1]

    yield negotiation
    for one in opened:
        one.close()
    assert stack.media.streams == []


async def test_an_offer_waits_for_its_answer_or_is_withdrawn(make):
    caller, callee = make(), make()
    answer = callee.accept_offer(caller.create_offer())
    assert caller.offering
    caller.accept_answer(answer)
    assert not caller.offering
    assert (caller.remote, callee.remote) == (callee.local, caller.local)
    caller.create_offer()
    caller.rollback()
    assert not caller.offering


async def test_ports_are_shared_by_rtp_and_rtcp_where_both_want_it(make):
    caller, callee = make(rtcp_mux=True), make(rtcp_mux=True)
    caller.accept_answer(callee.accept_offer(caller.create_offer()))
    assert caller.rtcp_mux
    assert callee.rtcp_mux


def test_suites_no_build_has_are_refused_by_name(monkeypatch):
    config = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
    check_media(config)
    monkeypatch.setattr("callmeter.media_negotiation.supported_suites", frozenset)
    assert libsrtp.supported_suites()
    with pytest.raises(ConfigurationError, match="AES_CM_128_HMAC_SHA1_80"):
        check_media(config)
