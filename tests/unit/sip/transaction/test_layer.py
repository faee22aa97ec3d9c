from __future__ import annotations

import gc
from heapq import heappop, heappush
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.config import TimerConfig
from callmeter.errors import LocalProtocolError
from callmeter.sip.message import Request, Response
from callmeter.sip.parser import parse_message
from callmeter.sip.transaction import (
    Deliver,
    Hop,
    Send,
    Terminated,
    TimedOut,
    TransactionLayer,
    TransportFailed,
)

ALICE = Hop("UDP", "192.0.2.1", 5060)
BOB = Hop("UDP", "192.0.2.2", 5060)
BOB_TCP = Hop("TCP", "192.0.2.2", 5060, 4)
VIA = "SIP/2.0/UDP 192.0.2.1:5060;branch="


@pytest.fixture
def layer(entropy):
    return TransactionLayer(TimerConfig(), entropy)


@pytest.fixture
def outgoing(make_request):
    """A request as a transaction user makes it: without Via."""
    return lambda method="INVITE", **settings: make_request(method, via=None, **settings)


@pytest.fixture
def calling(layer, outgoing):
    """An INVITE under way: its key, and the request as sent."""
    key, (sent,) = layer.request(outgoing(), BOB, "192.0.2.1:5060", 0.0)
    return key, sent.message


def live(layer, until=1000.0):
    """Let time pass; returns how many transactions are left."""
    while (when := layer.next_deadline()) is not None and when <= until:
        layer.on_deadline(when)
    return len(layer)


# Client side


def test_a_request_is_sent_with_a_via_and_a_fresh_branch(layer, outgoing):
    first, (one,) = layer.request(outgoing("OPTIONS"), BOB, "alice.example.com:5080", 0.0)
    second, (two,) = layer.request(outgoing("OPTIONS"), BOB_TCP, "[2001:db8::1]", 0.0)
    assert first != second
    assert (one.key, one.hop) == (first, BOB)
    assert str(one.message.via) == (
        f"SIP/2.0/UDP alice.example.com:5080;branch={one.message.via.branch};rport"
    )
    assert (two.message.via.transport, two.message.via.host) == ("TCP", "2001:db8::1")
    assert one.message.via.branch.startswith("z9hG4bK")


def test_the_request_of_the_transaction_user_stays_as_it_is(layer, outgoing):
    request = outgoing(body=b"v=0\r\n")
    _, (sent,) = layer.request(request, BOB, "192.0.2.1", 0.0)
    assert "Via" not in request.headers
    assert next(iter(sent.message.headers))[0] == "Via"
    assert sent.message.body == b"v=0\r\n"


def test_the_via_of_an_earlier_try_is_dropped(layer, calling, outgoing):
    _, sent = calling
    _, (again,) = layer.request(sent, BOB, "192.0.2.1", 1.0)
    assert len(again.message.vias) == 1
    assert again.message.via.branch != sent.via.branch


def test_an_ack_has_no_transaction(layer, outgoing):
    with pytest.raises(LocalProtocolError, match="stateless"):
        layer.request(outgoing("ACK"), BOB, "192.0.2.1", 0.0)
    (sent,) = layer.stateless(outgoing("ACK"), BOB, "192.0.2.1:5060")
    assert (sent.key, sent.hop) == (None, BOB)
    assert sent.message.via.branch.startswith("z9hG4bK")
    assert len(layer) == 0


def test_a_response_is_delivered_to_the_transaction_that_asked(layer, calling):
    key, sent = calling
    response = sent.create_response(180, to_tag="bob")
    assert layer.on_message(response, BOB, 0.1) == [Deliver(key, response)]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("Via", VIA + "z9hG4bKguess"), id="branch"),
        pytest.param(("CSeq", "1 BYE"), id="method"),
    ],
)
def test_a_response_to_something_else_is_dropped_and_counted(layer, calling, change):
    response = calling[1].create_response(200, to_tag="bob")
    response.headers.set(*change)
    assert layer.on_message(response, BOB, 0.1) == []
    assert layer.counters.stray_responses == 1


def test_a_response_by_another_transport_is_dropped(layer, calling):
    response = calling[1].create_response(200, to_tag="bob")
    assert layer.on_message(response, BOB_TCP, 0.1) == []
    assert layer.counters.stray_responses == 1


def test_a_response_that_was_meant_for_an_element_behind_us_is_dropped(layer, calling):
    response = calling[1].create_response(200, to_tag="bob")
    response.headers.add("Via", VIA + "z9hG4bKbehind")
    assert layer.on_message(response, BOB, 0.1) == []
    assert layer.counters.stray_responses == 1


@pytest.mark.parametrize("header", ["Via", "CSeq"])
def test_a_message_that_cannot_be_matched_for_its_syntax_is_counted(layer, calling, header):
    response = calling[1].create_response(200)
    response.headers.set(header, "?")
    assert layer.on_message(response, BOB, 0.1) == []
    assert layer.counters.malformed == 1


def test_a_retransmitted_final_response_is_acked_again_and_not_delivered(layer, calling):
    key, sent = calling
    busy = sent.create_response(486, to_tag="bob")
    ack, delivered = layer.on_message(busy, BOB, 0.1)
    assert delivered == Deliver(key, busy)
    (again,) = layer.on_message(busy, BOB, 0.6)
    assert again.message.to_bytes() == ack.message.to_bytes()
    assert layer.counters.retransmissions_absorbed == 1
    assert live(layer) == 0


def test_a_late_provisional_response_is_absorbed(layer, calling):
    layer.on_message(calling[1].create_response(486, to_tag="bob"), BOB, 0.1)
    assert layer.on_message(calling[1].create_response(180, to_tag="bob"), BOB, 0.2) == []
    assert layer.counters.retransmissions_absorbed == 1


def test_silence_is_told_once_and_leaves_nothing(layer, calling):
    effects = []
    while (when := layer.next_deadline()) is not None:
        effects += layer.on_deadline(when)
    assert effects[-2:] == [TimedOut(calling[0], "B"), Terminated(calling[0])]
    assert len(layer) == 0


def test_a_transport_error_ends_the_transaction_it_names(layer, calling):
    key, _ = calling
    assert layer.on_transport_error(key, "refused", 0.1) == [
        TransportFailed(key, "refused"),
        Terminated(key),
    ]
    assert layer.on_transport_error(key, "refused", 0.2) == []
    assert layer.on_transport_error(None, "refused", 0.2) == []
    assert (len(layer), layer.next_deadline()) == (0, None)


# CANCEL


def test_a_cancel_waits_for_a_provisional_response(layer, calling):
    key, sent = calling
    cancel_key, effects = layer.cancel(key, 0.1, headers=[("Reason", "SIP;cause=200")])
    assert effects == []
    trying = sent.create_response(100)
    delivered, cancel = layer.on_message(trying, BOB, 0.2)
    assert delivered == Deliver(key, trying)
    assert (cancel.key, cancel.hop, cancel.message.method) == (cancel_key, BOB, "CANCEL")
    assert cancel.message.headers.get("Reason") == "SIP;cause=200"


def test_a_cancel_repeats_what_identifies_the_invite_and_none_of_its_body(layer, outgoing):
    request = outgoing(
        number=7,
        extra=(
            ("Route", "<sip:proxy.example.com;lr>"),
            ("Require", "100rel"),
            ("Content-Type", "application/sdp"),
        ),
        body=b"v=0\r\n",
    )
    key, (sent,) = layer.request(request, BOB, "192.0.2.1", 0.0)
    layer.on_message(sent.message.create_response(180, to_tag="bob"), BOB, 0.2)
    _, (cancel,) = layer.cancel(key, 0.3)
    assert cancel.message.to_bytes().decode().split("\r\n") == [
        "CANCEL sip:bob@example.com SIP/2.0",
        f"Via: {sent.message.via}",
        "Max-Forwards: 70",
        "From: Alice <sip:alice@example.com>;tag=alice",
        "To: <sip:bob@example.com>",
        "Call-ID: call-1",
        "Route: <sip:proxy.example.com;lr>",
        "CSeq: 7 CANCEL",
        "Content-Length: 0",
        "",
        "",
    ]


@pytest.mark.parametrize("ringing", [False, True])
def test_a_second_cancel_changes_nothing(layer, calling, ringing):
    key, sent = calling
    if ringing:
        layer.on_message(sent.create_response(180, to_tag="bob"), BOB, 0.1)
    first, _ = layer.cancel(key, 0.2)
    assert layer.cancel(key, 0.3) == (first, [])
    layer.on_message(sent.create_response(183, to_tag="bob"), BOB, 0.4)
    again = sent.create_response(183, to_tag="bob")
    assert layer.on_message(again, BOB, 0.5) == [Deliver(key, again)]
    assert len(layer) == 2


@pytest.mark.parametrize("status", [200, 486])
def test_a_cancel_that_waits_is_never_sent_after_a_final_response(layer, calling, status):
    key, sent = calling
    layer.cancel(key, 0.1)
    effects = layer.on_message(sent.create_response(status, to_tag="bob"), BOB, 0.2)
    assert not [each for each in effects if type(each) is Send and each.message.method == "CANCEL"]
    assert len(layer) == 1


@pytest.mark.parametrize("status", [200, 486])
def test_an_answered_invite_cannot_be_cancelled(layer, calling, status):
    key, sent = calling
    layer.on_message(sent.create_response(status, to_tag="bob"), BOB, 0.2)
    assert layer.cancel(key, 0.3) == (None, [])


def test_only_an_invite_can_be_cancelled(layer, outgoing):
    key, _ = layer.request(outgoing("OPTIONS"), BOB, "192.0.2.1", 0.0)
    assert layer.cancel(key, 0.1) == (None, [])
    assert layer.cancel(("c", "unknown", "INVITE"), 0.1) == (None, [])


def test_a_cancelled_invite_without_a_final_response_ends_after_64_t1(layer, calling):
    key, sent = calling
    layer.on_message(sent.create_response(180, to_tag="bob"), BOB, 1.0)
    cancel_key, (cancel,) = layer.cancel(key, 10.0)
    layer.on_message(cancel.message.create_response(200, to_tag="bob"), BOB, 10.1)
    effects = []
    while (when := layer.next_deadline()) is not None:
        effects += [(when, effect) for effect in layer.on_deadline(when)]
    assert effects == [
        (15.1, Terminated(cancel_key)),
        (42.0, TimedOut(key, "CANCEL")),
        (42.0, Terminated(key)),
    ]


def test_a_200_that_crosses_the_cancel_is_delivered(layer, calling):
    key, sent = calling
    layer.on_message(sent.create_response(180, to_tag="bob"), BOB, 1.0)
    layer.cancel(key, 2.0)
    answer = sent.create_response(200, to_tag="bob")
    assert layer.on_message(answer, BOB, 2.01) == [Deliver(key, answer)]


# Server side


def test_a_request_is_delivered_once_with_its_source_noted(layer, make_request):
    request = make_request("OPTIONS", via="SIP/2.0/UDP pc.example.com;branch=z9hG4bKa;rport")
    (delivered,) = layer.on_message(request, ALICE, 0.0)
    assert delivered.message.via.received == "192.0.2.1"
    assert delivered.message.via.rport == 5060
    again = make_request("OPTIONS", via="SIP/2.0/UDP pc.example.com;branch=z9hG4bKa;rport")
    assert layer.on_message(again, ALICE, 0.5) == []
    assert layer.counters.retransmissions_absorbed == 1
    assert len(layer) == 1


def test_a_response_goes_where_the_via_says(layer, make_request):
    request = make_request("OPTIONS", via=VIA + "z9hG4bKa")
    (delivered,) = layer.on_message(request, Hop("UDP", "192.0.2.1", 40000, 3), 0.0)
    response = request.create_response(200, to_tag="bob")
    assert layer.respond(delivered.key, response, 0.1) == [
        Send(delivered.key, response, Hop("UDP", "192.0.2.1", 5060, 3))
    ]


def test_a_response_to_an_unknown_request_is_not_sent(layer, invite):
    assert layer.respond(("s", "gone"), invite.create_response(200), 0.0) == []


def test_a_finished_server_transaction_leaves_nothing(layer, make_request):
    for method in ("INVITE", "OPTIONS"):
        for branch in ("z9hG4bKa", "1"):
            (delivered,) = layer.on_message(make_request(method, via=VIA + branch), ALICE, 0.0)
            layer.respond(delivered.key, delivered.message.create_response(404, to_tag="x"), 0.1)
    assert live(layer) == 0
    assert not layer._merges
    assert not layer._legacy_invites
    assert len(layer._deadlines) == 0


def test_a_finished_transaction_is_not_kept_alive(layer, outgoing):
    key, (sent,) = layer.request(outgoing("OPTIONS"), BOB_TCP, "192.0.2.1", 0.0)
    transaction = layer._clients[key]
    layer.on_message(sent.message.create_response(200, to_tag="x"), BOB_TCP, 0.1)
    assert transaction.terminated
    # Its timer F would have been due at 32 s: the heap must not hold it until then.
    assert not [each for each in gc.get_referrers(transaction) if isinstance(each, dict | list)]


def test_the_ack_of_a_failure_is_absorbed(layer, make_request):
    (delivered,) = layer.on_message(make_request(via=VIA + "z9hG4bKa"), ALICE, 0.0)
    layer.respond(delivered.key, delivered.message.create_response(486, to_tag="bob"), 0.1)
    ack = make_request("ACK", via=VIA + "z9hG4bKa", to_tag="bob")
    assert layer.on_message(ack, ALICE, 0.2) == []
    assert layer.on_deadline(0.7) == []
    assert layer.next_deadline() == 5.2


def test_the_ack_of_a_2xx_is_delivered_without_a_key(layer, make_request):
    (delivered,) = layer.on_message(make_request(via=VIA + "z9hG4bKa"), ALICE, 0.0)
    layer.respond(delivered.key, delivered.message.create_response(200, to_tag="bob"), 0.1)
    own = make_request("ACK", via=VIA + "z9hG4bKb", to_tag="bob")
    assert layer.on_message(own, ALICE, 0.2) == [Deliver(None, own)]
    same = make_request("ACK", via=VIA + "z9hG4bKa", to_tag="bob")
    assert layer.on_message(same, ALICE, 0.3) == [Deliver(None, same)]


def test_a_cancel_is_delivered_and_names_its_invite(layer, make_request):
    (invited,) = layer.on_message(make_request(), ALICE, 0.0)
    cancel = make_request("CANCEL")
    assert layer.invite_key_of(cancel) == invited.key
    (delivered,) = layer.on_message(cancel, ALICE, 0.1)
    assert delivered.key != invited.key
    assert layer.invite_key_of(delivered.message) == invited.key
    stray = make_request("CANCEL", via=VIA + "z9hG4bKother")
    assert layer.invite_key_of(stray) is None


@pytest.mark.parametrize("header", ["Via", "To", "From", "CSeq"])
def test_a_request_with_a_header_that_cannot_be_read_leaves_nothing(layer, invite, header):
    invite.headers.set(header, ";;;")
    assert layer.on_message(invite, ALICE, 0.0) == []
    assert (len(layer), layer.counters.malformed) == (0, 1)


def test_a_request_whose_connection_was_lost_goes_by_another_with_the_same_branch(layer, outgoing):
    key, (first,) = layer.request(outgoing("OPTIONS"), BOB_TCP, "192.0.2.1", 0.0)
    again = Hop("TCP", "192.0.2.2", 5060)
    (second,) = layer.resend(key, again, 0.1)
    assert second == Send(key, first.message, again)
    assert layer.resend(key, None, 0.1) == []
    assert layer.resend(("c", "z9hG4bKnone", "OPTIONS"), again, 0.1) == []
    answer = first.message.create_response(200, to_tag="x")
    assert layer.on_message(answer, BOB_TCP, 0.1)[0] == Deliver(key, answer)


@pytest.fixture
def ringing(layer, outgoing):
    """An INVITE by TCP that somebody has answered 180: its key, and the request as sent."""
    key, (sent,) = layer.request(outgoing(), BOB_TCP, "192.0.2.1", 0.0)
    layer.on_message(sent.message.create_response(180, to_tag="bob"), BOB_TCP, 1.0)
    return key, sent.message


AGAIN = Hop("TCP", "192.0.2.2", 5060, 5)


def test_an_invite_that_rings_goes_by_another_connection_and_is_given_up_without_a_word(
    layer, ringing
):
    key, sent = ringing
    assert layer.next_deadline() is None
    assert layer.resend(key, AGAIN, 10.0) == [Send(key, sent, AGAIN)]
    # The second loss makes nobody wait longer.
    assert layer.resend(key, None, 20.0) == []
    assert layer.next_deadline() == 42.0
    failed, ended = layer.on_deadline(42.0)
    assert failed == TransportFailed(key, f"{AGAIN}: the connection was lost, and no answer came")
    assert ended == Terminated(key)
    assert len(layer) == 0


def test_any_word_ends_the_wait_for_an_invite_whose_connection_was_lost(layer, ringing):
    key, sent = ringing
    layer.resend(key, AGAIN, 10.0)
    layer.on_message(sent.create_response(180, to_tag="bob"), AGAIN, 11.0)
    assert layer.next_deadline() is None
    answer = sent.create_response(200, to_tag="bob")
    assert layer.on_message(answer, AGAIN, 100.0) == [Deliver(key, answer)]
    # What the dialog needs from here on is not the transaction's.
    assert layer.resend(key, AGAIN, 101.0) == []


def test_what_goes_by_another_connection_for_a_call_given_up_is_its_cancel(layer, ringing):
    key, sent = ringing
    cancel_key, (cancel,) = layer.cancel(key, 5.0)
    (again,) = layer.resend(key, AGAIN, 10.0)
    assert again == Send(cancel_key, cancel.message, AGAIN)
    assert again.message.via.branch == sent.via.branch
    # 9.1: 64*T1 after the CANCEL, not after the loss.
    assert TimedOut(key, "CANCEL") in layer.on_deadline(37.0)


def test_a_request_that_came_again_by_another_connection_is_answered_by_that_one(
    layer, make_request
):
    via = "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKtcp"
    first = Hop("TCP", "192.0.2.1", 40_001, 1)
    second = Hop("TCP", "192.0.2.1", 40_002, 2)
    (delivered,) = layer.on_message(make_request(via=via), first, 0.0)
    key = delivered.key
    assert layer.on_message(make_request(via=via), second, 0.1) == []
    layer.respond(key, delivered.message.create_response(180, to_tag="b"), 0.2)
    (sent,) = layer.on_transport_error(key, "connection lost", 0.2)
    assert sent.hop == second
    (failed,) = layer.on_transport_error(key, "connection lost", 0.3)
    assert failed == TransportFailed(key, "connection lost")


def test_a_lost_connection_does_not_forget_the_invite(layer, make_request):
    request = make_request(via="SIP/2.0/TCP pc.example.com:5080;branch=z9hG4bKa")
    (delivered,) = layer.on_message(request, Hop("TCP", "192.0.2.1", 40000, 9), 0.0)
    busy = request.create_response(486, to_tag="bob")
    layer.respond(delivered.key, busy, 0.1)
    again = layer.on_transport_error(delivered.key, "closed", 0.2)
    assert again == [Send(delivered.key, busy, Hop("TCP", "192.0.2.1", 5080))]
    assert layer.on_transport_error(delivered.key, "refused", 0.3) == [
        TransportFailed(delivered.key, "refused")
    ]
    assert live(layer, 32.0) == 1
    assert live(layer) == 0


# RFC 2543


@pytest.mark.parametrize("branch", ["z9hG4bK", "1"])
def test_two_requests_with_the_same_worthless_branch_do_not_share_a_transaction(
    layer, make_request, branch
):
    for call in ("call-1", "call-2"):
        request = make_request("OPTIONS", via=VIA + branch, call_id=call)
        (delivered,) = layer.on_message(request, ALICE, 0.0)
        assert delivered.message is request
    assert len(layer) == 2


@pytest.mark.parametrize("branch", ["z9hG4bK", "1"])
def test_an_old_ack_is_matched_by_the_tag_of_the_answer(layer, make_request, branch):
    (delivered,) = layer.on_message(make_request(via=VIA + branch), ALICE, 0.0)
    early = make_request("ACK", via=VIA + branch, to_tag="bob")
    assert layer.on_message(early, ALICE, 0.05) == [Deliver(None, early)]
    layer.respond(delivered.key, delivered.message.create_response(486, to_tag="bob"), 0.1)
    other = make_request("ACK", via=VIA + branch, to_tag="other")
    assert layer.on_message(other, ALICE, 0.2) == [Deliver(None, other)]
    assert layer.on_message(make_request("ACK", via=VIA + branch, to_tag="bob"), ALICE, 0.3) == []
    assert layer.next_deadline() == pytest.approx(5.3)


def test_an_old_ack_of_nothing_is_delivered(layer, make_request):
    ack = make_request("ACK", via=VIA + "1", to_tag="bob")
    assert layer.on_message(ack, ALICE, 0.0) == [Deliver(None, ack)]


# Merged requests


def test_a_second_copy_by_another_path_is_merged(layer, make_request):
    (first,) = layer.on_message(make_request(via=VIA + "z9hG4bKa"), ALICE, 0.0)
    (second,) = layer.on_message(make_request(via=VIA + "z9hG4bKb"), ALICE, 0.1)
    assert not layer.is_merged(first.message, first.key)
    assert layer.is_merged(second.message, second.key)


@pytest.mark.parametrize("other", [{"number": 2}, {"from_tag": "x"}, {"call_id": "x"}])
def test_another_request_is_not_merged(layer, make_request, other):
    layer.on_message(make_request(via=VIA + "z9hG4bKa"), ALICE, 0.0)
    (second,) = layer.on_message(make_request(via=VIA + "z9hG4bKb", **other), ALICE, 0.1)
    assert not layer.is_merged(second.message, second.key)


def test_requests_within_a_dialog_are_never_merged(layer, make_request):
    layer.on_message(make_request("INFO", via=VIA + "z9hG4bKa", to_tag="b"), ALICE, 0.0)
    (second,) = layer.on_message(make_request("INFO", via=VIA + "z9hG4bKb", to_tag="b"), ALICE, 0.1)
    assert not layer.is_merged(second.message, second.key)


def test_the_end_of_the_merged_copy_leaves_the_first_one_on_record(layer, make_request):
    (first,) = layer.on_message(make_request("INFO", via=VIA + "z9hG4bKa"), ALICE, 0.0)
    (second,) = layer.on_message(make_request("INFO", via=VIA + "z9hG4bKb"), ALICE, 0.1)
    layer.respond(second.key, second.message.create_response(408), 0.2)
    (third,) = layer.on_message(make_request("INFO", via=VIA + "z9hG4bKc"), ALICE, 0.3)
    assert layer.is_merged(third.message, third.key)
    layer.respond(first.key, first.message.create_response(408), 0.4)
    assert not layer.is_merged(third.message, third.key)


# The cap


@pytest.fixture
def small(entropy):
    return TransactionLayer(TimerConfig(), entropy, limit=2)


def flood(layer, make_request, count, **settings):
    for number in range(count):
        layer.on_message(make_request(via=f"{VIA}z9hG4bKflood{number}", **settings), ALICE, 0.0)


def test_over_the_limit_new_work_gets_a_503_that_leaves_nothing(small, make_request):
    flood(small, make_request, 2)
    request = make_request(via=VIA + "z9hG4bKa;rport")
    (sent,) = small.on_message(request, Hop("UDP", "192.0.2.1", 40000), 1.0)
    assert (sent.key, sent.hop.port, sent.message.status) == (None, 40000, 503)
    assert 5 <= int(sent.message.headers.get("Retry-After")) <= 30
    assert sent.message.to.tag
    assert (len(small), small.counters.rejected_over_limit) == (2, 1)


def test_a_stateless_503_has_the_same_tag_each_time(small, make_request):
    flood(small, make_request, 2)
    tags = [
        small.on_message(make_request(via=VIA + f"z9hG4bK{branch}"), ALICE, 1.0)[0].message.to.tag
        for branch in "aab"
    ]
    assert tags[0] == tags[1] != tags[2]


@pytest.mark.parametrize(
    ("method", "to_tag"), [("BYE", None), ("CANCEL", None), ("INVITE", "bob"), ("INFO", "bob")]
)
def test_over_the_limit_what_belongs_to_calls_is_served(small, make_request, method, to_tag):
    flood(small, make_request, 2)
    request = make_request(method, via=VIA + "z9hG4bKa", to_tag=to_tag)
    (delivered,) = small.on_message(request, ALICE, 1.0)
    assert type(delivered) is Deliver


def test_without_time_new_work_gets_a_503_whatever_the_number(layer, make_request):
    layer.overloaded = True
    (refusal,) = layer.on_message(make_request(), ALICE, 0.0)
    assert refusal.message.status == 503
    assert 5 <= int(refusal.message.headers.get("Retry-After")) <= 30
    (served,) = layer.on_message(make_request("BYE", to_tag="x"), ALICE, 0.0)
    assert isinstance(served, Deliver)
    layer.overloaded = False
    (served,) = layer.on_message(make_request(), ALICE, 0.0)
    assert isinstance(served, Deliver)


def test_over_the_limit_an_ack_still_ends_its_invite(small, make_request):
    flood(small, make_request, 2)
    key = next(iter(small._servers))
    small.respond(key, small._servers[key].request.create_response(486, to_tag="bob"), 0.1)
    ack = make_request("ACK", via=VIA + "z9hG4bKflood0", to_tag="bob")
    assert small.on_message(ack, ALICE, 0.2) == []
    own = make_request("ACK", via=VIA + "z9hG4bKb", to_tag="bob")
    assert small.on_message(own, ALICE, 0.3) == [Deliver(None, own)]


def test_at_twice_the_limit_nothing_more_is_taken(small, make_request):
    flood(small, make_request, 10, to_tag="bob")
    assert len(small) == 4
    (sent,) = small.on_message(make_request("BYE", to_tag="bob"), ALICE, 1.0)
    assert sent.message.status == 503


def test_retransmissions_are_absorbed_over_the_limit_too(small, make_request):
    flood(small, make_request, 2)
    assert small.on_message(make_request(via=VIA + "z9hG4bKflood0"), ALICE, 0.1) == []
    assert small.counters.rejected_over_limit == 0


# Both sides


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
@pytest.mark.parametrize(("method", "status"), [("INVITE", 486), ("INVITE", 200), ("OPTIONS", 200)])
def test_two_layers_end_a_transaction_without_leftovers(
    entropy, outgoing, transport, method, status
):
    client = TransactionLayer(TimerConfig(), entropy)
    server = TransactionLayer(TimerConfig(), entropy)
    to, source = Hop(transport, "192.0.2.2", 5060, 1), Hop(transport, "192.0.2.1", 5060, 2)
    _, (sent,) = client.request(outgoing(method), to, "192.0.2.1:5060", 0.0)
    (delivered,) = server.on_message(sent.message, source, 0.0)
    answer = delivered.message.create_response(status, to_tag="bob")
    server.respond(delivered.key, answer, 0.1)
    for effect in client.on_message(answer, to, 0.2):
        if type(effect) is Send:
            server.on_message(effect.message, source, 0.3)
    assert isinstance(answer, Response)
    assert live(client) == live(server) == 0


class LossyNetwork:
    """Two layers, a user on either side, and datagrams that are lost, doubled and overtaken."""

    COPIES = {"lost": 0, "arrives": 1, "twice": 2}  # noqa: RUF012  a constant of the test

    def __init__(self, fates, delays, status, answers_after):
        numbers = count(1)
        self.layers = [
            TransactionLayer(TimerConfig(), lambda n: next(numbers).to_bytes(n, "big"))
            for _ in range(2)
        ]
        self.numbers = numbers
        self.fates = iter(fates)
        self.delays = iter(delays)
        self.status = status
        self.answers_after = answers_after
        self.queue = []
        self.own = None
        self.requests = self.finals = 0
        self.ends = []

    def call(self, request):
        self.own, effects = self.layers[0].request(request, BOB, "192.0.2.1:5060", 0.0)
        self.apply(0, effects, 0.0)

    def put(self, when, act):
        heappush(self.queue, (when, next(self.numbers), act))

    def apply(self, side, effects, now):
        for effect in effects:
            match effect:
                case Send(_, message, _):
                    self.carry(1 - side, message.to_bytes(), now)
                case Deliver(key, Request() as request) if side == 1 and key is not None:
                    self.serve(key, request, now)
                case Deliver(key, Response(status=status)) if key == self.own:
                    self.finals += status >= 200
                case TimedOut(key, timer) if key == self.own:
                    self.ends.append(timer)

    def carry(self, side, octets, now):
        for _ in range(self.COPIES[next(self.fates, "arrives")]):
            self.put(
                now + next(self.delays, 0.01),
                lambda at: self.apply(
                    side,
                    self.layers[side].on_message(parse_message(octets), (BOB, ALICE)[side], at),
                    at,
                ),
            )

    def serve(self, key, request, now):
        cancel = request.method == "CANCEL"
        self.requests += not cancel
        answer = request.create_response(200 if cancel else self.status, to_tag="bob")
        self.put(
            now if cancel else now + self.answers_after,
            lambda at: self.apply(1, self.layers[1].respond(key, answer, at), at),
        )

    def cancel(self, now):
        self.apply(0, self.layers[0].cancel(self.own, now)[1], now)

    def run(self):
        while True:
            wakes = [
                (when, side)
                for side, layer in enumerate(self.layers)
                if (when := layer.next_deadline()) is not None
            ]
            when, side = min(wakes, default=(float("inf"), None))
            if self.queue and self.queue[0][0] <= when:
                now, _, act = heappop(self.queue)
                act(now)
            elif side is not None:
                self.apply(side, self.layers[side].on_deadline(when), when)
            else:
                return


@given(
    fates=st.lists(st.sampled_from(["arrives", "lost", "twice"]), max_size=80),
    # A copy that came more than 0.5 s after the last one was sent would outlive timer J.
    delays=st.lists(st.floats(0.001, 0.4), max_size=40),
    method=st.sampled_from(["INVITE", "OPTIONS"]),
    status=st.sampled_from([200, 302, 486]),
    answers_after=st.floats(0.0, 40.0),
    cancel_at=st.one_of(st.none(), st.floats(0.0, 40.0)),
)
def test_whatever_the_network_does_each_side_gets_one_end_and_nothing_stays(
    fates, delays, method, status, answers_after, cancel_at
):
    network = LossyNetwork(fates, delays, status, answers_after)
    lines = [
        ("From", "<sip:alice@example.com>;tag=alice"),
        ("To", "<sip:bob@example.com>"),
        ("Call-ID", "call"),
        ("CSeq", f"1 {method}"),
        ("Max-Forwards", "70"),
    ]
    network.call(Request(method, "sip:bob@example.com", lines))
    if cancel_at is not None:
        network.put(cancel_at, network.cancel)
    network.run()
    client, server = network.layers
    assert network.requests <= 1
    assert len(server) == 0
    if method == "OPTIONS":
        assert network.finals + len(network.ends) == 1
    elif status != 200:
        assert network.finals + len(network.ends) <= 1
    # An INVITE that rings waits for its user; everything else has come to an end.
    waiting = [each for each in client._clients.values() if each.state.name == "PROCEEDING"]
    assert len(client) == len(waiting) <= (method == "INVITE" and cancel_at is None)
