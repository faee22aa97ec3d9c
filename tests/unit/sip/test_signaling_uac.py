from __future__ import annotations

import itertools

import pytest

from callmeter.sip.parser import parse_message
from callmeter.sip.session_events import CancelRequest, Respond, SendAck, SendRequest
from callmeter.sip.signaling_uac import SignalingUac
from callmeter.sip.uri import parse_uri

OFFER = b"v=0\r\n"
VIA = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"


def uac(**settings):
    numbers = itertools.count(1)
    return SignalingUac(
        parse_uri("sip:bob@192.0.2.2"),
        "<sip:alice@192.0.2.1>",
        "sip:alice@192.0.2.1",
        settings.pop("offer", OFFER),
        lambda count: next(numbers).to_bytes(8, "big") * (count // 8),
        **settings,
    )


def placed(core, now=0.0):
    (order,) = core.call(now)
    return order


def response(order, status=200, *lines, tag="t", contact="<sip:bob@192.0.2.3:5070>"):
    request = order.request.with_via(VIA)
    answer = request.create_response(
        status, to_tag=tag, headers=[("Contact", contact), *lines] if contact else lines
    )
    return parse_message(answer.to_bytes())


def test_a_call_is_placed_acknowledged_and_ended():
    core = uac()
    order = placed(core)
    invite = parse_message(order.request.with_via(VIA).to_bytes())
    assert (invite.method, str(invite.uri), invite.body) == ("INVITE", "sip:bob@192.0.2.2", OFFER)
    assert str(invite.to) == "<sip:bob@192.0.2.2>"
    assert invite.headers.get("Contact") == "<sip:alice@192.0.2.1>"
    assert core.on_response(order.token, response(order, 180), 0.1) == []
    ack, bye = core.on_response(order.token, response(order), 0.2)
    assert isinstance(ack, SendAck)
    assert isinstance(bye, SendRequest)
    for sent, number in ((ack.request, 1), (bye.request, 2)):
        message = parse_message(sent.with_via(VIA).to_bytes())
        assert (message.to_tag, message.from_tag) == ("t", invite.from_tag)
        assert (message.call_id, message.cseq.number) == (invite.call_id, number)
        assert str(message.uri) == "sip:bob@192.0.2.3:5070"
    assert core.on_response(bye.token, response(bye, contact=None), 0.3) == []
    counters = core.counters
    assert (counters.invites, counters.answered, counters.ended) == (1, 1, 1)
    assert (counters.statuses, len(core), core.next_deadline()) == ({200: 1}, 0, None)


def test_without_an_offer_there_is_no_body():
    invite = placed(uac(offer=b"")).request.with_via(VIA)
    assert (invite.body, "Content-Type" in invite.headers) == (b"", False)


def test_the_call_is_held_for_a_while():
    core = uac(hold=3.0)
    order = placed(core)
    (ack,) = core.on_response(order.token, response(order), 1.0)
    assert isinstance(ack, SendAck)
    assert core.next_deadline() == 4.0
    assert core.on_deadline(3.9) == []
    (bye,) = core.on_deadline(4.0)
    assert bye.request.method == "BYE"
    assert core.hang_up() == []


def test_each_copy_of_the_200_gets_the_ack_and_another_fork_a_bye():
    core = uac(hold=3.0)
    order = placed(core)
    (ack,) = core.on_response(order.token, response(order), 1.0)
    assert core.on_response(order.token, response(order), 1.5) == [ack]
    ack, bye = core.on_response(order.token, response(order, tag="u"), 1.6)
    assert (ack.request.method, ack.request.to_tag) == ("ACK", "u")
    assert (bye.token, bye.request.method, bye.request.to_tag) == (0, "BYE", "u")
    assert len(core) == 1
    assert core.on_response(0, response(bye, contact=None), 1.7) == []


@pytest.mark.parametrize("odd", [b"i: ", b"Call-ID: "])
@pytest.mark.parametrize("routed", [True, False])
def test_an_answer_of_another_shape_is_acknowledged_alike(odd, routed):
    core = uac()
    order = placed(core)
    lines = [("Record-Route", "<sip:p@192.0.2.9;lr>")] if routed else []
    answer = response(order, 200, *lines, contact=None if odd == b"i: " else "<sip:b@192.0.2.3>")
    answer = parse_message(answer.to_bytes().replace(b"Call-ID: ", odd))
    ack, bye = core.on_response(order.token, answer, 1.0)
    assert ack.request.headers.get("Route") == ("<sip:p@192.0.2.9;lr>" if routed else None)
    assert (bye.request.to_tag, bye.token) == ("t", -order.token)


def test_a_refused_a_failed_and_an_unknown_call_are_counted_once():
    core = uac()
    refused, failed = placed(core), placed(core)
    assert core.on_response(refused.token, response(refused, 486), 1.0) == []
    assert core.on_failure(failed.token) == []
    assert core.on_failure(failed.token) == []
    assert core.on_response(refused.token, response(refused), 2.0) == []
    counters = core.counters
    assert (counters.refused, counters.failed, counters.statuses) == (1, 1, {486: 1})
    assert len(core) == 0


def test_a_call_that_rings_too_long_is_cancelled():
    core = uac(ring_timeout=10.0)
    order = placed(core)
    assert core.on_deadline(10.0) == [CancelRequest(order.token)]
    assert core.hang_up() == []
    assert core.on_response(order.token, response(order, 487), 11.0) == []
    assert core.counters.refused == 1


def test_a_200_that_crosses_the_cancel_is_ended_at_once():
    core = uac(hold=60.0, ring_timeout=10.0)
    order = placed(core)
    assert core.hang_up() == [CancelRequest(order.token)]
    ack, bye = core.on_response(order.token, response(order), 10.1)
    assert (ack.request.method, bye.request.method) == ("ACK", "BYE")


def peer_request(order, method, *, tag=None, call_id=None):
    invite = order.request.with_via(VIA)
    tag = tag or invite.from_tag
    head = [
        f"{method} sip:alice@192.0.2.1 SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.3;branch=z9hG4bK9",
        "From: <sip:bob@192.0.2.2>;tag=t",
        f"To: <sip:alice@192.0.2.1>;tag={tag}",
        f"Call-ID: {call_id or invite.call_id}",
        f"CSeq: 1 {method}",
        "Content-Length: 0",
    ]
    return parse_message(("\r\n".join(head) + "\r\n\r\n").encode())


@pytest.mark.parametrize(
    ("method", "other", "status"),
    [
        ("BYE", {}, 200),
        ("OPTIONS", {}, 200),
        ("INVITE", {}, 488),
        ("UPDATE", {}, 405),
        ("BYE", {"tag": "x"}, 481),
        ("BYE", {"call_id": "x"}, 481),
    ],
)
def test_a_request_of_the_callee_is_answered(method, other, status):
    core = uac(hold=60.0)
    order = placed(core)
    core.on_response(order.token, response(order), 1.0)
    (reply,) = core.on_request(("s",), peer_request(order, method, **other))
    assert isinstance(reply, Respond)
    assert reply.response.status == status
    assert core.counters.ended == int((method, status) == ("BYE", 200))


def test_a_bye_before_the_answer_is_of_no_dialog():
    core = uac()
    order = placed(core)
    (reply,) = core.on_request(("s",), peer_request(order, "BYE"))
    assert reply.response.status == 481
