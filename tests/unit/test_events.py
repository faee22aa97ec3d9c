"""Events of a call as values."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError

import pytest

from callmeter import events

EXAMPLES = [
    events.CallEvent(0.0),
    events.Ringing(0.1, 180, "Ringing"),
    events.EarlyMedia(0.1, 183),
    events.Redirected(0.1, "sip:carol@example.com"),
    events.Answered(0.2, 200),
    events.MediaStarted(0.3, "192.0.2.1:40000"),
    events.MediaSourceChanged(0.4, ssrc=7),
    events.MediaSilent(0.5, 2.0),
    events.ConsentExpired(0.5, "192.0.2.1:4000", 30.0),
    events.MediaUnreadable(0.6, 100, looks_like_plain_rtp=True),
    events.DtmfReceived(0.7, "#", 160, "rtp"),
    events.InfoReceived(0.8, "text/plain", b"x"),
    events.Held(0.9, by_peer=True),
    events.Rekeyed(1.0, by_peer=True),
    events.Resumed(1.0, by_peer=False),
    events.Updated(1.0, by_peer=True),
    events.SessionRefreshed(1.0, by_peer=False),
    events.SessionExpired(1.0),
    events.TransferRequested(1.0, "sip:carol@example.com", attended=True, request=None),
    events.TransferProgress(1.0, 180, "Ringing"),
    events.Transferred(1.0, "sip:carol@example.com", None),
    events.Ended(1.1, "bye-sent"),
]


def test_every_public_event_is_among_the_examples():
    assert {type(event).__name__ for event in EXAMPLES} == set(events.__all__)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_is_a_value_that_travels_and_does_not_change(event):
    assert pickle.loads(pickle.dumps(event)) == event
    with pytest.raises(FrozenInstanceError):
        event.at = 5.0


@pytest.mark.parametrize("event", EXAMPLES[1:], ids=lambda event: type(event).__name__)
def test_an_event_says_in_words_what_happened(event):
    words = str(event)
    assert words
    assert not words.startswith(type(event).__name__)
    assert "(at=" not in words


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (events.Ringing(0.1, 180, ""), "ringing: 180"),
        (events.Ringing(0.1, 180, "Ringing"), "ringing: 180 Ringing"),
        (events.EarlyMedia(0.1, 183), "early media with the 183"),
        (events.MediaSilent(0.1, 2.0), "no media for 2 s"),
        (events.Resumed(0.1, by_peer=True), "resumed by the peer"),
        (events.Resumed(0.1, by_peer=False), "resumed"),
        (events.MediaSourceChanged(0.4, ssrc=7), "media now with SSRC 0x00000007"),
        (events.MediaSourceChanged(0.4, "192.0.2.1:4000"), "media now from 192.0.2.1:4000"),
        (
            events.MediaUnreadable(0.6, 9, looks_like_plain_rtp=False),
            "9 packets cannot be decrypted: the keys differ",
        ),
        (
            events.MediaUnreadable(0.6, 9, looks_like_plain_rtp=True),
            "9 packets cannot be decrypted: they look like plain RTP",
        ),
        (events.InfoReceived(0.8, "", b""), "INFO: no type, 0 octets"),
        (events.Held(0.9, by_peer=True), "held by the peer"),
        (events.Held(0.9, by_peer=False), "held"),
        (
            events.TransferRequested(1.0, "sip:c@example.com", attended=False, request=None),
            "the peer asks for a transfer: to sip:c@example.com",
        ),
        (
            events.TransferRequested(1.0, "sip:c@example.com", attended=True, request=None),
            "the peer asks for a transfer: in the place of another call, to sip:c@example.com",
        ),
    ],
)
def test_the_words_tell_cases_apart(event, words):
    assert str(event) == words
