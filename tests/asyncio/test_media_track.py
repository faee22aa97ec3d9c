"""One m= line on its own: what it offers and answers, and when its stream runs."""

from __future__ import annotations

import secrets

import pytest

from callmeter.audio_track import AudioTrack
from callmeter.config import MediaConfig, VideoConfig
from callmeter.errors import NegotiationError, NoCommonCodec
from callmeter.media_track import MediaTrack
from callmeter.sdp.attributes import Direction
from callmeter.sdp.offer_answer import OfferAnswer
from callmeter.sdp.parser import parse_description
from callmeter.video_track import VideoTrack

LOOPBACK = "127.0.0.1"


@pytest.fixture
def make(stack):
    opened = []

    def track(kind=AudioTrack, **settings):
        opened.append(
            kind(stack.media, MediaConfig(**settings), LOOPBACK, entropy=secrets.token_bytes)
        )
        return opened[-1]

    yield track
    for one in opened:
        one.close()
    assert stack.media.streams == []


def described(*tracks):
    """What a peer reads that is offered these tracks."""
    session = OfferAnswer(session_id=1, address=LOOPBACK)
    offer = session.create_offer([track.describe_offer() for track in tracks])
    reader = OfferAnswer(session_id=2, address=LOOPBACK)
    return reader.receive_offer(parse_description(offer.to_bytes()))


async def test_a_track_names_itself_by_its_place_until_the_peer_has(make):
    first, second = make(ice=True), make(ice=True)
    second.index = 1
    assert [track.mid for track in described(first, second)] == ["0", "1"]


async def test_what_was_answered_runs_only_when_it_is_used(make):
    offering, answering = make(), make()
    (offered,) = described(offering)
    answer = answering.describe_answer(offered)
    assert answer.direction is Direction.SENDRECV
    assert answering.codec is None
    assert not answering.answers_ice
    answering.use_offer()
    assert (answering.codec, answering.index) == ("PCMU", 0)
    answering.use_offer()
    assert answering.remote == offering.local


@pytest.mark.parametrize(
    ("settings", "error"), [({"codecs": ("opus",)}, NoCommonCodec), ({}, NegotiationError)]
)
async def test_what_cannot_be_answered_changes_nothing(make, settings, error):
    (offered,) = described(make())
    if not settings:
        object.__setattr__(offered, "address", "::1")
    answering = make(**settings)
    with pytest.raises(error):
        answering.describe_answer(offered)
    answering.use_offer()
    assert answering.local is None


@pytest.mark.parametrize(
    ("kind", "carried", "settings"),
    [
        (AudioTrack, {"PCMU", "PCMA"}, {"codecs": ("PCMU", "PCMA"), "ptime": 30}),
        (VideoTrack, {"VP8", "H264"}, {"video": VideoConfig(bandwidth=300)}),
    ],
)
async def test_each_kind_of_track_says_what_it_carries(make, kind, carried, settings):
    track = make(kind, **settings)
    assert {item.encoding for item in track._formats() if track._carries(item)} == carried
    assert (track._ptime, track._bandwidth) == ((30, None) if kind is AudioTrack else (None, 300))


async def test_a_track_that_is_of_neither_kind_cannot_be_made(make):
    with pytest.raises(TypeError, match="abstract"):
        make(MediaTrack)
