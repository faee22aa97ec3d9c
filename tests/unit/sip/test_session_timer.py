"""Agreement on a session interval: RFC 4028."""

from __future__ import annotations

import pytest

from callmeter.session_config import Extension, SessionTimerConfig
from callmeter.sip.message import Request, Response
from callmeter.sip.session_timer import MAX_INTERVAL_CHANGES, SessionTimer, session_interval


def timer(mode=Extension.SUPPORTED, **settings):
    return SessionTimer(SessionTimerConfig(mode=mode, **settings))


def request(*lines, to_tag=None):
    to = "<sip:alice@example.com>" + (f";tag={to_tag}" if to_tag else "")
    return Request("INVITE", "sip:alice@example.com", [("To", to), *lines])


def answer(*lines, status=200):
    return Response(status, headers=lines)


@pytest.mark.parametrize(("value", "seconds"), [("1800", 1800), (None, None), ("x", None)])
def test_an_unreadable_interval_is_none(value, seconds):
    message = answer(*([] if value is None else [("Session-Expires", value)]))
    found = session_interval(message)
    assert (found and found.seconds) == seconds


def test_nothing_is_asked_for_when_timers_are_disabled():
    silent = timer(Extension.DISABLED)
    assert silent.invite_lines() == silent.refresh_lines() == []
    assert silent.inspect(request(("Session-Expires", "30"), ("Supported", "timer"))) is None
    assert silent.answer(request(("Session-Expires", "1800"), ("Supported", "timer")), 0.0) == []
    silent.on_answer(answer(("Session-Expires", "1800;refresher=uac")), 0.0)
    assert silent.end_at is None
    assert not silent.lengthen(answer(("Min-SE", "3600"), status=422))
    assert repr(silent) == "<SessionTimer>"


@pytest.mark.parametrize(
    ("mode", "settings", "lines"),
    [
        (Extension.SUPPORTED, {}, [("Session-Expires", "1800;refresher=uac")]),
        (Extension.SUPPORTED, {"refresher": None}, [("Session-Expires", "1800")]),
        (
            Extension.REQUIRED,
            {"refresher": "uas", "expires": 300, "min_se": 120},
            [("Session-Expires", "300;refresher=uas"), ("Min-SE", "120"), ("Require", "timer")],
        ),
    ],
)
def test_an_invite_asks_for_what_the_policy_says(mode, settings, lines):
    assert timer(mode, **settings).invite_lines() == lines


@pytest.mark.parametrize(
    ("value", "refreshing"),
    [("90;refresher=uac", True), ("90;refresher=uas", False), ("90", True)],
)
def test_the_2xx_says_who_refreshes(value, refreshing):
    ours = timer()
    ours.on_answer(answer(("Session-Expires", value)), 100.0)
    assert (ours.interval, ours.refreshing) == (90, refreshing)
    assert ours.refresh_at == (145.0 if refreshing else None)
    assert ours.end_at == 160.0
    role = "uac" if refreshing else "uas"
    assert ours.refresh_lines() == [("Session-Expires", f"90;refresher={role}")]
    assert ("refreshing" in repr(ours)) is refreshing


def test_bye_goes_32_seconds_before_a_long_session_expires():
    ours = timer()
    ours.on_answer(answer(("Session-Expires", "1800;refresher=uas")), 0.0)
    assert ours.end_at == 1768.0


def test_a_2xx_without_an_interval_means_that_the_session_does_not_expire():
    ours = timer()
    ours.on_answer(answer(("Session-Expires", "90;refresher=uac")), 0.0)
    ours.on_answer(answer(), 10.0)
    assert (ours.interval, ours.refresh_at, ours.end_at, ours.refreshing) == (0, None, None, False)


def test_no_peer_makes_us_refresh_without_pause():
    ours = timer()
    ours.on_answer(answer(("Session-Expires", "0;refresher=uac")), 0.0)
    assert ours.refresh_at == 5.0


def test_a_422_is_obeyed_a_few_times():
    ours = timer(expires=100)
    for number in range(1, MAX_INTERVAL_CHANGES + 1):
        assert ours.lengthen(answer(("Min-SE", str(100 + number)), status=422))
        assert ours.invite_lines() == [
            ("Session-Expires", f"{100 + number};refresher=uac"),
            ("Min-SE", str(100 + number)),
        ]
    assert not ours.lengthen(answer(("Min-SE", "1000"), status=422))


@pytest.mark.parametrize("lines", [[], [("Min-SE", "90")], [("Min-SE", "x")]])
def test_a_422_that_asks_for_nothing_more_is_final(lines):
    assert not timer().lengthen(answer(*lines, status=422))


TIMER = ("Supported", "timer")


@pytest.mark.parametrize(
    ("mode", "lines", "to_tag", "refusal"),
    [
        (Extension.SUPPORTED, [], None, None),
        (Extension.REQUIRED, [], None, (421, (("Require", "timer"),))),
        (Extension.REQUIRED, [], "x", None),
        (Extension.REQUIRED, [("Require", "timer")], None, None),
        (
            Extension.SUPPORTED,
            [TIMER, ("Session-Expires", "99")],
            None,
            (422, (("Min-SE", "100"),)),
        ),
        (Extension.SUPPORTED, [TIMER, ("Session-Expires", "100")], None, None),
        (Extension.SUPPORTED, [("Session-Expires", "99")], None, None),
        (Extension.SUPPORTED, [TIMER], None, None),
    ],
)
def test_what_is_too_short_or_lacks_timers_is_refused(mode, lines, to_tag, refusal):
    assert timer(mode, min_se=100).inspect(request(*lines, to_tag=to_tag)) == refusal


@pytest.mark.parametrize(
    ("settings", "lines", "expected"),
    [
        ({}, [], None),
        ({}, [TIMER], "1800;refresher=uac"),
        ({"refresher": "uas"}, [TIMER], "1800;refresher=uas"),
        ({"refresher": None}, [TIMER], "1800;refresher=uac"),
        ({}, [("Session-Expires", "900")], "900;refresher=uas"),
        ({}, [("Session-Expires", "900;refresher=uac")], "900;refresher=uas"),
        ({}, [TIMER, ("Session-Expires", "900;refresher=uas")], "900;refresher=uas"),
        (
            {"refresher": "uas"},
            [TIMER, ("Session-Expires", "900;refresher=uac")],
            "900;refresher=uac",
        ),
        ({"expires": 300}, [TIMER, ("Session-Expires", "900")], "300;refresher=uac"),
        (
            {"expires": 300},
            [TIMER, ("Session-Expires", "900"), ("Min-SE", "600")],
            "600;refresher=uac",
        ),
    ],
)
def test_the_answer_follows_table_2(settings, lines, expected):
    ours = timer(**settings)
    found = dict(ours.answer(request(*lines), 0.0))
    assert found.get("Session-Expires") == expected
    assert (found.get("Require") == "timer") is (TIMER in lines)
    assert ours.refreshing is ("uas" in (expected or ""))


def test_a_refresh_that_names_no_refresher_keeps_the_roles():
    for refresher in ("uac", "uas"):
        ours = timer()
        ours.on_answer(answer(("Session-Expires", f"300;refresher={refresher}")), 0.0)
        before = ours.refreshing
        ours.answer(request(TIMER, ("Session-Expires", "300"), to_tag="x"), 10.0)
        assert ours.refreshing is before
        assert ours.end_at == 278.0


def test_a_failed_refresh_is_tried_again_while_there_is_time():
    ours = timer()
    ours.on_answer(answer(("Session-Expires", "300;refresher=uac")), 0.0)
    ours.on_refresh_failed(150.0)
    assert (ours.refresh_at, ours.failed) == (209.0, 1)
    ours.on_refresh_failed(262.0)
    assert ours.refresh_at is None
    ours.stop()
    ours.on_refresh_failed(300.0)
    assert (ours.refresh_at, ours.refreshes) == (None, 0)
