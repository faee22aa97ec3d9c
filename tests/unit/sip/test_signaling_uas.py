from __future__ import annotations

import itertools

import pytest

from callmeter.config import TimerConfig
from callmeter.sip.parser import parse_message
from callmeter.sip.session_events import Respond, SendRequest
from callmeter.sip.signaling_uas import SignalingUas

KEY = ("s", 1)
BYE_KEY = ("s", 2)
BODY = b"v=0\r\n"


def uas(**settings):
    numbers = itertools.count(1)
    return SignalingUas(
        settings.pop("answer", BODY),
        "sip:me@192.0.2.1",
        TimerConfig(),
        lambda count: next(numbers).to_bytes(count, "big"),
        **settings,
    )


def request(method="INVITE", *lines, tag=None, cseq=1, from_tag="f", call_id="c", body=BODY):
    to = "<sip:b@b.example>" + (f";tag={tag}" if tag else "")
    head = [
        f"{method} sip:b@b.example SIP/2.0",
        "Via: SIP/2.0/UDP a:5070;branch=z9hG4bK1",
        f"From: <sip:a@a.example>;tag={from_tag}",
        f"To: {to}",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}",
        "Contact: <sip:a@192.0.2.2:5070>",
        *lines,
        *(["Content-Type: application/sdp"] if body and method == "INVITE" else []),
        f"Content-Length: {len(body) if method == 'INVITE' else 0}",
        "",
        "",
    ]
    return parse_message("\r\n".join(head).encode() + (body if method == "INVITE" else b""))


def statuses(effects):
    return [effect.response.status for effect in effects if isinstance(effect, Respond)]


def answered(core, now=0.0):
    effects = core.on_request(KEY, request(), now)
    return effects[-1].response.to_tag


def test_a_call_rings_is_answered_acknowledged_and_ended():
    core = uas()
    effects = core.on_request(KEY, request(), 0.0)
    assert statuses(effects) == [180, 200]
    ringing, answer = (effect.response for effect in effects)
    tag = answer.to_tag
    assert ringing.to_tag == tag
    assert (answer.body, answer.headers.get("Contact")) == (BODY, "<sip:me@192.0.2.1>")
    assert answer.headers.get("Content-Type") == "application/sdp"
    assert "INVITE" in answer.allow
    assert core.next_deadline() == 0.5
    assert core.on_ack(request("ACK", tag=tag), 0.1) == []
    assert core.next_deadline() is None
    assert len(core) == 1
    assert statuses(core.on_request(BYE_KEY, request("BYE", tag=tag, cseq=2), 1.0)) == [200]
    counters = core.counters
    assert (counters.invites, counters.answered, counters.confirmed, counters.ended) == (1, 1, 1, 1)
    assert len(core) == 0


def test_without_ring_and_answer_there_is_a_bare_200():
    core = uas(ring=False, answer=b"")
    effects = core.on_request(KEY, request(body=b""), 0.0)
    assert statuses(effects) == [200]
    assert effects[0].response.body == b""
    assert "Content-Type" not in effects[0].response.headers


def test_a_request_of_another_shape_is_answered_alike():
    core = uas()
    effects = core.on_request(KEY, request("INVITE", "Record-Route: <sip:p;lr>"), 0.0)
    assert statuses(effects) == [180, 200]
    answer = effects[-1].response
    assert answer.headers.get("Record-Route") == "<sip:p;lr>"
    tag = answer.to_tag
    odd = parse_message(request("BYE", tag=tag, cseq=2).to_bytes().replace(b"Call-ID", b"i"))
    assert odd.usual is None
    assert statuses(core.on_request(BYE_KEY, odd, 1.0)) == [200]
    odd = parse_message(request().to_bytes().replace(b"Call-ID", b"i"))
    assert statuses(core.on_request(KEY, odd, 2.0)) == [180, 200]


def test_the_200_is_sent_again_until_its_ack_and_then_a_bye_ends_the_call():
    core = uas()
    tag = answered(core)
    times = []
    while (at := core.next_deadline()) is not None:
        effects = core.on_deadline(at)
        times.append(at)
        if not statuses(effects):
            break
        assert statuses(effects) == [200]
    assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5, 32.0]
    (bye,) = effects
    assert isinstance(bye, SendRequest)
    assert (bye.request.method, str(bye.request.uri)) == ("BYE", "sip:a@192.0.2.2:5070")
    assert (bye.request.from_tag, bye.request.to_tag) == (tag, "f")
    assert (core.counters.unacknowledged, core.counters.repeated, len(core)) == (1, 10, 0)


@pytest.mark.parametrize("other", [{"tag": "x"}, {"call_id": "x"}])
def test_the_ack_of_another_dialog_changes_nothing(other):
    core = uas()
    tag = answered(core)
    core.on_ack(request("ACK", **({"tag": tag} | other)), 0.1)
    assert core.counters.confirmed == 0
    core.on_ack(request("ACK", tag=tag), 0.1)
    core.on_ack(request("ACK", tag=tag), 0.2)
    assert core.counters.confirmed == 1


@pytest.mark.parametrize(
    ("other", "status"),
    [({"tag": "x"}, 481), ({"call_id": "x"}, 481), ({"from_tag": "x"}, 481), ({"cseq": 0}, 500)],
)
def test_a_bye_of_another_dialog_or_order_is_refused(other, status):
    core = uas()
    tag = answered(core)
    bye = request("BYE", **({"tag": tag, "cseq": 2} | other))
    assert statuses(core.on_request(BYE_KEY, bye, 1.0)) == [status]
    assert len(core) == 1


def test_a_reinvite_gets_the_same_answer_once_the_first_is_acknowledged():
    core = uas()
    tag = answered(core)
    again = request(tag=tag, cseq=2)
    assert statuses(core.on_request(BYE_KEY, again, 1.0)) == [500]
    core.on_ack(request("ACK", tag=tag), 1.1)
    effects = core.on_request(BYE_KEY, request(tag=tag, cseq=3), 2.0)
    assert statuses(effects) == [200]
    assert effects[0].response.body == BODY
    assert (core.next_deadline(), core.counters.answered) == (2.5, 1)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (request("OPTIONS"), 200),
        (request("BYE"), 481),
        (request("UPDATE", tag="x"), 405),
        (request("NEWMETHOD"), 501),
        (request("INVITE", "Require: 100rel"), 420),
        (parse_message(request().to_bytes().replace(b"Content-Type", b"X-Type")), 415),
    ],
)
def test_what_is_no_plain_call_is_answered_as_by_any_user_agent(asked, status):
    core = uas()
    assert statuses(core.on_request(KEY, asked, 0.0)) == [status]
    assert len(core) == 0


def test_a_request_in_a_dialog_that_changes_nothing_is_answered():
    core = uas()
    tag = answered(core)
    assert statuses(core.on_request(BYE_KEY, request("OPTIONS", tag=tag, cseq=2), 1.0)) == [200]
    assert len(core) == 1


def test_a_copy_by_another_path_and_a_call_over_the_limit_are_refused():
    core = uas(limit=1)
    assert statuses(core.on_request(KEY, request(), 0.0, merged=True)) == [482]
    answered(core)
    (refusal,) = core.on_request(BYE_KEY, request(call_id="d"), 0.0)
    assert refusal.response.status == 503
    assert refusal.response.headers.get("Retry-After") == "10"


def test_the_answer_waits_and_a_cancel_comes_first():
    core = uas(answer_after=2.0)
    assert statuses(core.on_request(KEY, request(), 0.0)) == [180]
    cancel = request("CANCEL")
    assert statuses(core.on_request(BYE_KEY, cancel, 1.0, invite_key=("s", 9))) == [200]
    effects = core.on_request(BYE_KEY, cancel, 1.0, invite_key=KEY)
    assert [(effect.key, effect.response.status) for effect in effects] == [
        (BYE_KEY, 200),
        (KEY, 487),
    ]
    assert (core.counters.cancelled, len(core), core.next_deadline()) == (1, 0, None)
    assert statuses(core.on_request(BYE_KEY, cancel, 1.0)) == [481]


def test_the_answer_that_waited_is_sent_in_time():
    core = uas(answer_after=2.0)
    core.on_request(KEY, request(), 0.0)
    assert core.on_deadline(1.9) == []
    assert statuses(core.on_deadline(2.0)) == [200]
    assert core.on_failure(KEY) == []
    assert len(core) == 1


def test_a_bye_before_the_answer_ends_the_invite_too():
    core = uas(answer_after=2.0)
    tag = core.on_request(KEY, request(), 0.0)[0].response.to_tag
    effects = core.on_request(BYE_KEY, request("BYE", tag=tag, cseq=2), 1.0)
    assert statuses(effects) == [200, 487]


def test_a_call_whose_180_cannot_be_sent_is_forgotten():
    core = uas(answer_after=2.0)
    core.on_request(KEY, request(), 0.0)
    assert core.on_failure(KEY) == []
    assert core.on_failure(KEY) == []
    assert (len(core), core.next_deadline()) == (0, None)


def test_a_new_contact_counts_from_the_next_call_on():
    core = uas()
    core.contact = "sip:me@192.0.2.9"
    assert core.contact == "sip:me@192.0.2.9"
    answer = core.on_request(KEY, request(), 0.0)[-1].response
    assert answer.headers.get("Contact") == "<sip:me@192.0.2.9>"
