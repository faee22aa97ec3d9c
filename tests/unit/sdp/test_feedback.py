from __future__ import annotations

import pytest

from callmeter.sdp.attributes import RtcpFb
from callmeter.sdp.feedback import agreed_feedback, feedback_for, is_offered


def parse(*texts):
    return tuple(map(RtcpFb.parse, texts))


@pytest.mark.parametrize(
    ("offered", "own", "agreed"),
    [
        (("* nack",), ("* nack",), ("* nack",)),
        (("0 nack",), ("* nack",), ("0 nack",)),
        (("0 nack", "8 nack"), ("* nack",), ("0 nack",)),
        (("* nack",), ("0 nack",), ()),
        (("0 nack",), ("0 nack",), ("0 nack",)),
        (("* nack pli",), ("* nack",), ()),
        (("* nack", "* nack"), ("* nack",), ("* nack",)),
        (("* ccm fir", "* nack pli"), ("* nack pli", "* ccm fir"), ("* ccm fir", "* nack pli")),
        ((), ("* nack",), ()),
    ],
)
def test_an_answer_takes_from_the_offer_what_this_side_takes_too(offered, own, agreed):
    assert agreed_feedback(parse(*offered), parse(*own), [0, 101]) == parse(*agreed)


@pytest.mark.parametrize(
    ("item", "offered", "covered"),
    [
        ("0 nack", ("* nack",), True),
        ("* nack", ("* nack",), True),
        ("0 nack", ("0 nack",), True),
        ("* nack", ("0 nack",), False),
        ("0 nack pli", ("* nack",), False),
        ("0 nack", (), False),
    ],
)
def test_an_offer_for_all_formats_covers_each_of_them(item, offered, covered):
    assert is_offered(RtcpFb.parse(item), parse(*offered)) is covered


def test_the_messages_of_a_format_are_its_own_and_those_of_all():
    feedback = parse("* nack", "0 nack pli", "8 ccm fir", "* trr-int 100")
    assert feedback_for(feedback, 0) == {"nack", "nack pli", "trr-int 100"}


def test_of_what_a_browser_offers_for_video_the_requests_of_a_meter_are_taken():
    browser = parse(
        "96 goog-remb", "96 transport-cc", "96 ccm fir", "96 nack", "96 nack pli", "97 nack"
    )
    own = parse("* nack", "* nack pli", "* ccm fir")
    assert agreed_feedback(browser, own, [96]) == browser[2:5]
