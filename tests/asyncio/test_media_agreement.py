"""What a negotiation has led to, as it can be read at any time."""

from __future__ import annotations

import secrets

import pytest

from callmeter.config import MediaConfig, SrtpConfig, SrtpPolicy
from callmeter.media_session import MediaSession
from callmeter.sdp.attributes import Direction


@pytest.fixture
def make(stack):
    opened = []

    def session(address, **settings):
        config = MediaConfig(**settings)
        opened.append(MediaSession(stack.media, config, address, entropy=secrets.token_bytes))
        return opened[-1]

    yield session
    for one in opened:
        one.close()


def read(session):
    return {
        name: getattr(session, name)
        for name in ("codec", "profile", "keying", "suite", "secure", "direction", "on_hold", "ice")
    }


async def test_nothing_is_agreed_on_before_an_answer(make):
    session = make("127.0.0.1")
    assert read(session) == {
        "codec": None,
        "profile": None,
        "keying": "none",
        "suite": None,
        "secure": False,
        "direction": "sendrecv",
        "on_hold": False,
        "ice": False,
    }
    assert (session.local, session.remote, session.rtcp_mux) == (None, None, False)
    assert not session.keys_pending
    await session.keyed()


@pytest.mark.parametrize(("address", "shown"), [("127.0.0.1", "127.0.0.1:"), ("::1", "[::1]:")])
async def test_an_answer_settles_what_both_ends_read(make, address, shown):
    srtp = SrtpConfig(policy=SrtpPolicy.REQUIRED)
    ends = caller, callee = make(address, srtp=srtp, rtcp_mux=True), make(address, srtp=srtp)
    caller.accept_answer(callee.accept_offer(caller.create_offer(Direction.SENDONLY)))
    assert [end.direction for end in ends] == ["sendonly", "recvonly"]
    for end in ends:
        assert end.on_hold
        assert (end.codec, end.profile, end.keying) == ("PCMU", "RTP/SAVP", "sdes")
        assert end.local.startswith(shown)
        assert (end.rehandshakes, end.rekeys_sent, end.rekeys_received) == (0, 0, 0)
    assert (caller.remote, callee.remote) == (callee.local, caller.local)
