"""Offer/answer exchanges printed in RFC 3264 section 10 and RFC 4317 section 2."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from callmeter.sdp.codecs import find_format, payload_formats
from callmeter.sdp.offer_answer import NegotiationState, OfferAnswer
from callmeter.sdp.parser import parse_description
from callmeter.sdp.profiles import parse_profile
from callmeter.sdp.remote_track import read_tracks
from callmeter.sdp.tracks import TrackAnswer, TrackOffer

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "offer_answer.json").read_text(encoding="utf-8")
)
CASES = [pytest.param(case, id=case["title"]) for case in VECTORS["cases"]]
TEXTS = [
    exchange[side].encode()
    for case in VECTORS["cases"]
    for exchange in case["exchanges"]
    for side in ("offer", "answer")
    if exchange[side]
]
EXCHANGES = [
    pytest.param(exchange, id=f"{case['title']} {number}")
    for case in VECTORS["cases"]
    for number, exchange in enumerate(case["exchanges"], 1)
    if exchange["answer"]
]


def said(track):
    """What this side would have to say so that the other reads `track`."""
    return {
        "port": track.port,
        "address": track.address,
        "formats": track.formats,
        "direction": track.direction,
    }


def offers(description):
    """The tracks that offer what `description` offers."""
    return [
        TrackOffer(kind=track.kind, profile=parse_profile(track.protocol), **said(track))
        if not track.rejected
        else TrackOffer(
            kind=track.kind,
            profile=parse_profile(track.protocol),
            port=0,
            address="host.example.com",
            formats=payload_formats(description.media[track.index])[0],
        )
        for track in read_tracks(description)
    ]


def lines(description):
    """What RFC 3264 lets the other side act on, m= line by m= line."""
    return [
        (track.kind, track.port, track.protocol, track.formats, track.direction)
        for track in read_tracks(description)
    ]


@pytest.mark.parametrize("text", TEXTS)
def test_every_printed_description_is_written_back_octet_for_octet(text):
    description = parse_description(text)
    assert description.to_bytes() == text
    assert description.notes == ()


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_printed_answer_is_taken_as_an_answer_to_the_printed_offer(exchange):
    offered = parse_description(exchange["offer"].encode())
    answer = parse_description(exchange["answer"].encode())
    negotiation = OfferAnswer(session_id=1, address="host.example.com")
    assert lines(negotiation.create_offer(offers(offered))) == lines(offered)
    agreed = negotiation.receive_answer(answer)
    for own, printed, track in zip(read_tracks(offered), answer.media, agreed, strict=True):
        assert track.rejected is (printed.port == 0)
        assert track.notes == ()
        assert all(find_format(own.formats, item) for item in track.formats)
    assert negotiation.state is NegotiationState.STABLE


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_printed_answer_can_be_given_to_the_printed_offer(exchange):
    printed = parse_description(exchange["answer"].encode())
    negotiation = OfferAnswer(session_id=1, address="host.example.com")
    negotiation.receive_offer(parse_description(exchange["offer"].encode()))
    answers = [
        None if track.rejected else TrackAnswer(**said(track)) for track in read_tracks(printed)
    ]
    given = negotiation.create_answer(answers)
    assert lines(given) == lines(printed)
    assert parse_description(given.to_bytes()) == given


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_answer_of_ours_keeps_the_invariants(exchange):
    offered = parse_description(exchange["offer"].encode())
    negotiation = OfferAnswer(session_id=1, address="192.0.2.1")
    tracks = negotiation.receive_offer(offered)
    answers = [
        None
        if track.rejected
        else TrackAnswer(
            port=4000 + 2 * track.index, address="192.0.2.1", formats=track.formats[:1]
        )
        for track in tracks
    ]
    given = negotiation.create_answer(answers)
    assert [media.kind for media in given.media] == [media.kind for media in offered.media]
    for media, track, question in zip(given.media, tracks, offered.media, strict=True):
        assert media.formats
        assert media.protocol == question.protocol
        if media.port:
            assert len(media.attributes_named("rtpmap")) == len(media.formats)
            assert read_tracks(given)[track.index].direction.answer_to(track.direction) is (
                read_tracks(given)[track.index].direction
            )


@pytest.mark.parametrize("case", CASES)
def test_a_session_id_stays_and_a_version_counts_changes(case):
    negotiation = OfferAnswer(session_id=1, address="192.0.2.1")
    versions = []
    for exchange in case["exchanges"] * 2:
        tracks = negotiation.receive_offer(parse_description(exchange["offer"].encode()))
        for track in tracks:
            assert track.rejected is (track.port == 0)
        given = negotiation.create_answer([None] * len(tracks))
        assert given.origin.session_id == 1
        versions.append((given.origin.session_version, given.media))
    for (before, earlier), (after, later) in pairwise(versions):
        assert after == before + (earlier != later)
