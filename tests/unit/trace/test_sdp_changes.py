from __future__ import annotations

from callmeter.trace.sdp_changes import Change, SdpLine, sdp_changes

OFFER = ["v=0", "o=- 1 1 IN IP4 a", "m=audio 4000 RTP/SAVP 0", "a=sendrecv"]


def marked(lines):
    return [(line.change.value, line.text) for line in lines if line.change is not Change.KEPT]


def test_a_first_description_has_no_changes():
    assert sdp_changes(None, OFFER) == [SdpLine(line) for line in OFFER]


def test_the_same_again_has_no_changes():
    assert marked(sdp_changes(OFFER, OFFER)) == []


def test_a_changed_line_is_shown_before_and_after_in_its_place():
    held = [OFFER[0], "o=- 1 2 IN IP4 a", *OFFER[2:3], "a=sendonly"]
    lines = sdp_changes(OFFER, held)
    assert [line.text for line in lines] == [
        "v=0",
        "o=- 1 1 IN IP4 a",
        "o=- 1 2 IN IP4 a",
        "m=audio 4000 RTP/SAVP 0",
        "a=sendrecv",
        "a=sendonly",
    ]
    assert marked(lines) == [
        ("removed", "o=- 1 1 IN IP4 a"),
        ("added", "o=- 1 2 IN IP4 a"),
        ("removed", "a=sendrecv"),
        ("added", "a=sendonly"),
    ]


def test_lines_that_came_or_went_are_told():
    assert marked(sdp_changes(OFFER, [*OFFER, "a=ptime:20"])) == [("added", "a=ptime:20")]
    assert marked(sdp_changes(OFFER, OFFER[:-1])) == [("removed", "a=sendrecv")]


def test_an_endless_description_is_compared_in_linear_time():
    many = ["a=x"] * 30_000
    lines = sdp_changes(many, ["a=x"] * 29_999 + ["a=y"])
    assert marked(lines) == [("added", "a=y")]
    assert len(lines) == 30_000
