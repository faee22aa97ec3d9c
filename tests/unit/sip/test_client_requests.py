"""Requests under way: tokens, challenges, Retry-After."""

from __future__ import annotations

import pytest

from callmeter.sip.client_requests import MAX_CHALLENGES, retry_after
from callmeter.sip.message import Response
from callmeter.sip.session_events import RequestAnswered, RequestFailed, SendRequest
from callmeter.sip.uri import SipUri

TARGET = SipUri("sip", "example.com", user="bob")


def challenge(nonce="n1", *, realm="example.com", stale=False, name="WWW-Authenticate"):
    return [(name, f'Digest realm="{realm}", nonce="{nonce}", stale={str(stale).lower()}')]


@pytest.fixture
def options(rig):
    rig.trust("example.com")
    _, (order,) = rig.core.options(TARGET, 0.0)
    return order


def test_the_final_response_comes_under_the_token_and_ends_the_request(rig, options):
    assert rig.answer(options, 100) == []
    (event,) = rig.answer(options, 404)
    assert (event.token, event.response.status) == (options.token, 404)
    assert rig.answer(options, 404) == []
    assert len(rig.core) == 0


@pytest.mark.parametrize(
    ("report", "status", "cause", "error"),
    [("on_timeout", 408, "timeout", ""), ("on_transport_error", 503, "transport", "F")],
)
def test_silence_is_told_once(rig, options, report, status, cause, error):
    assert getattr(rig.core, report)(options.token, "F", 32.0) == [
        RequestFailed(options.token, status, cause, error)
    ]
    assert getattr(rig.core, report)(options.token, "F", 32.0) == []


def test_a_challenge_is_answered_with_the_next_cseq_in_a_new_transaction(rig, options):
    (again,) = rig.answer(options, 401, headers=challenge())
    assert isinstance(again, SendRequest)
    assert again.token != options.token
    assert again.request.cseq.number == options.request.cseq.number + 1
    assert again.request.headers.get("Authorization").startswith("Digest ")
    assert again.request.call_id == options.request.call_id
    assert again.request.from_ == options.request.from_
    (event,) = rig.answer(again, 200)
    assert isinstance(event, RequestAnswered)
    assert event.token == options.token


def test_credentials_that_are_refused_are_not_sent_again(rig, options):
    (again,) = rig.answer(options, 401, headers=challenge())
    (event,) = rig.answer(again, 401, headers=challenge("n2"))
    assert event.response.status == 401


def test_a_stale_nonce_is_replaced(rig, options):
    (again,) = rig.answer(options, 401, headers=challenge())
    (third,) = rig.answer(again, 401, headers=challenge("n2", stale=True))
    assert 'nonce="n2"' in third.request.headers.get("Authorization")
    assert len(third.request.headers.get_all("Authorization")) == 1


def test_a_proxy_and_a_server_may_both_ask(rig, options):
    (again,) = rig.answer(options, 407, headers=challenge(name="Proxy-Authenticate"))
    (third,) = rig.answer(again, 401, headers=challenge("n2"))
    assert "Proxy-Authorization" in third.request.headers
    assert "Authorization" in third.request.headers


def test_a_server_that_never_stops_asking_is_left(rig, options):
    order = options
    for number in range(MAX_CHALLENGES):
        name = "WWW-Authenticate" if number % 2 else "Proxy-Authenticate"
        status = 401 if number % 2 else 407
        lines = challenge(f"n{number}", stale=number > 1, name=name)
        (order,) = rig.answer(order, status, headers=lines)
        assert isinstance(order, SendRequest)
    (event,) = rig.answer(order, 401, headers=challenge("last", stale=True))
    assert isinstance(event, RequestAnswered)


def test_without_credentials_a_challenge_is_a_final_answer(rig):
    _, (order,) = rig.core.options(TARGET, 0.0)
    (event,) = rig.answer(order, 401, headers=challenge())
    assert event.response.status == 401


def test_a_realm_of_the_account_asked_for_by_the_wrong_host_gets_no_digest(rig):
    rig.trust("example.com", realm="example.com")
    _, (order,) = rig.core.options(SipUri("sip", "evil.example", user="bob"), 0.0)
    (event,) = rig.answer(order, 401, headers=challenge())
    assert isinstance(event, RequestAnswered)


def test_a_foreign_realm_of_a_trusted_host_gets_no_digest(rig):
    rig.trust("example.com", realm="example.com")
    _, (order,) = rig.core.options(TARGET, 0.0)
    (event,) = rig.answer(order, 401, headers=challenge(realm="elsewhere"))
    assert isinstance(event, RequestAnswered)


def test_no_password_shows_in_what_is_kept(rig):
    rig.trust("example.com")
    assert "s3cret" not in repr(rig.core.identity)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("120", 120), ("18 (in a meeting);duration=5", 18), ("x", None),
     ("9" * 5000, 3600)],
)  # fmt: skip
def test_retry_after_never_silences_us_for_more_than_an_hour(value, seconds):
    lines = [] if value is None else [("Retry-After", value)]
    assert retry_after(Response(503, headers=lines)) == seconds
