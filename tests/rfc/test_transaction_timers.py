"""RFC 3261 section 17 and RFC 6026 in virtual time: what is sent, and exactly when."""

from __future__ import annotations

from itertools import count

import pytest

from callmeter.config import TimerConfig
from callmeter.sip.message import Request
from callmeter.sip.transaction import (
    Deliver,
    Hop,
    Send,
    Terminated,
    TimedOut,
    TransactionLayer,
)

INVITE_SENDS = [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
REQUEST_SENDS = [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
STREAMS = ["TCP", "TLS", "WS", "WSS"]
NON_INVITE = ["OPTIONS", "REGISTER", "BYE", "CANCEL", "INFO", "MESSAGE", "PRACK", "UPDATE"]


class Clock:
    """Runs a layer from deadline to deadline, and writes down what happens when."""

    def __init__(self, start=0.0):
        numbers = count(1)
        self.layer = TransactionLayer(TimerConfig(), lambda n: next(numbers).to_bytes(n, "big"))
        self.start = start
        self.log = []

    def note(self, when, effects):
        self.log += [(when - self.start, effect) for effect in effects]
        return effects

    def run(self, until=float("inf")):
        while (when := self.layer.next_deadline()) is not None and when - self.start <= until:
            self.note(when, self.layer.on_deadline(when))

    def sends(self):
        return [when for when, effect in self.log if type(effect) is Send]

    def others(self):
        return [(when, effect) for when, effect in self.log if type(effect) is not Send]


def request(method, via=None):
    lines = [("Via", via)] if via else []
    lines += [
        ("From", "<sip:alice@example.com>;tag=alice"),
        ("To", "<sip:bob@example.com>"),
        ("Call-ID", "call"),
        ("CSeq", f"1 {method}"),
    ]
    return Request(method, "sip:bob@example.com", lines)


def client(method, transport="UDP", start=0.0):
    clock = Clock(start)
    hop = Hop(transport, "192.0.2.2", 5060)
    key, effects = clock.layer.request(request(method), hop, "192.0.2.1", start)
    clock.note(start, effects)
    return clock, key, effects[0].message, hop


def server(method, transport="UDP"):
    clock = Clock()
    via = f"SIP/2.0/{transport} 192.0.2.1;branch=z9hG4bKone"
    hop = Hop(transport, "192.0.2.1", 5060)
    message = request(method, via)
    (delivered,) = clock.layer.on_message(message, hop, 0.0)
    return clock, delivered.key, message, hop


# 17.1.1: INVITE client


@pytest.mark.parametrize("start", [0.0, 1000.0, 86_400.0])
def test_an_unanswered_invite_is_sent_seven_times_and_given_up_at_32_s(start):
    clock, key, _, _ = client("INVITE", start=start)
    clock.run()
    assert clock.sends() == INVITE_SENDS
    assert clock.others() == [(32.0, TimedOut(key, "B")), (32.0, Terminated(key))]


@pytest.mark.parametrize("transport", STREAMS)
def test_an_invite_over_a_stream_is_sent_once_and_given_up_at_32_s(transport):
    clock, key, _, _ = client("INVITE", transport)
    clock.run()
    assert clock.sends() == [0]
    assert clock.others() == [(32.0, TimedOut(key, "B")), (32.0, Terminated(key))]


@pytest.mark.parametrize("status", [100, 180, 199])
def test_a_provisional_response_silences_an_invite_for_good(status):
    clock, _, sent, hop = client("INVITE")
    clock.run(2.0)
    clock.layer.on_message(sent.create_response(status), hop, 2.0)
    clock.run()
    assert clock.sends() == [0, 0.5, 1.5]
    assert len(clock.layer) == 1


@pytest.mark.parametrize(("transport", "end"), [("UDP", 33.0), *((each, 1.0) for each in STREAMS)])
def test_timer_d_keeps_acking_for_32_s_over_datagrams_only(transport, end):
    clock, key, sent, hop = client("INVITE", transport)
    busy = sent.create_response(486, to_tag="bob")
    clock.note(1.0, clock.layer.on_message(busy, hop, 1.0))
    clock.run()
    assert clock.others() == [(1.0, Deliver(key, busy)), (end, Terminated(key))]


@pytest.mark.parametrize("transport", ["UDP", *STREAMS])
def test_timer_m_takes_further_2xx_for_32_s(transport):
    clock, key, sent, hop = client("INVITE", transport)
    answers = [sent.create_response(200, to_tag=tag) for tag in ("bob", "fork")]
    clock.note(1.0, clock.layer.on_message(answers[0], hop, 1.0))
    clock.note(32.9, clock.layer.on_message(answers[1], hop, 32.9))
    clock.run()
    assert clock.others() == [
        (1.0, Deliver(key, answers[0])),
        (32.9, Deliver(key, answers[1])),
        (33.0, Terminated(key)),
    ]
    assert clock.layer.on_message(answers[0], hop, 33.1) == []


# 17.1.2: other clients


@pytest.mark.parametrize("method", NON_INVITE)
def test_an_unanswered_request_is_sent_eleven_times_and_given_up_at_32_s(method):
    clock, key, _, _ = client(method)
    clock.run()
    assert clock.sends() == REQUEST_SENDS
    assert clock.others() == [(32.0, TimedOut(key, "F")), (32.0, Terminated(key))]


@pytest.mark.parametrize("transport", STREAMS)
def test_a_request_over_a_stream_is_sent_once_and_given_up_at_32_s(transport):
    clock, key, _, _ = client("OPTIONS", transport)
    clock.run()
    assert clock.sends() == [0]
    assert clock.others() == [(32.0, TimedOut(key, "F")), (32.0, Terminated(key))]


def test_after_a_provisional_response_a_request_is_repeated_each_t2():
    clock, _, sent, hop = client("REGISTER")
    clock.run(0.5)
    clock.layer.on_message(sent.create_response(100), hop, 0.6)
    clock.run()
    assert clock.sends() == [0, 0.5, 1.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5]
    assert clock.others()[0][0] == 32.0


@pytest.mark.parametrize("status", [200, 302, 404, 500, 603])
@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_nothing_is_sent_after_a_final_response(method, status):
    clock, _, sent, hop = client(method)
    clock.run(1.5)
    clock.layer.on_message(sent.create_response(status, to_tag="bob"), hop, 2.0)
    clock.run()
    assert clock.sends() == [0, 0.5, 1.5]
    assert len(clock.layer) == 0


@pytest.mark.parametrize(("transport", "end"), [("UDP", 6.0), *((each, 1.0) for each in STREAMS)])
def test_timer_k_absorbs_responses_for_t4_over_datagrams_only(transport, end):
    clock, key, sent, hop = client("OPTIONS", transport)
    answer = sent.create_response(200, to_tag="bob")
    clock.note(1.0, clock.layer.on_message(answer, hop, 1.0))
    clock.run()
    assert clock.others() == [(1.0, Deliver(key, answer)), (end, Terminated(key))]


# 17.2.1: INVITE server


@pytest.mark.parametrize("transport", ["UDP", *STREAMS])
def test_a_100_follows_an_unanswered_invite_after_200_ms(transport):
    clock, _, _, _ = server("INVITE", transport)
    clock.run()
    assert [(when, sent.message.status) for when, sent in clock.log] == [(0.2, 100)]


def test_a_failure_is_repeated_with_doubling_up_to_t2_and_given_up_at_32_s():
    clock, key, message, _ = server("INVITE")
    clock.note(0.0, clock.layer.respond(key, message.create_response(486, to_tag="b"), 0.0))
    clock.run()
    assert clock.sends() == REQUEST_SENDS
    assert clock.others() == [(32.0, TimedOut(key, "H")), (32.0, Terminated(key))]


@pytest.mark.parametrize("transport", STREAMS)
def test_a_failure_over_a_stream_is_sent_once_and_its_ack_awaited_for_32_s(transport):
    clock, key, message, _ = server("INVITE", transport)
    clock.note(0.0, clock.layer.respond(key, message.create_response(486, to_tag="b"), 0.0))
    clock.run()
    assert clock.sends() == [0]
    assert clock.others() == [(32.0, TimedOut(key, "H")), (32.0, Terminated(key))]


@pytest.mark.parametrize(("transport", "end"), [("UDP", 7.0), *((each, 2.0) for each in STREAMS)])
def test_timer_i_absorbs_acks_for_t4_over_datagrams_only(transport, end):
    clock, key, message, hop = server("INVITE", transport)
    clock.layer.respond(key, message.create_response(486, to_tag="b"), 0.0)
    clock.run(1.9)
    ack = request("ACK", f"SIP/2.0/{transport} 192.0.2.1;branch=z9hG4bKone")
    clock.note(2.0, clock.layer.on_message(ack, hop, 2.0))
    clock.run()
    assert clock.sends() == ([0.5, 1.5] if transport == "UDP" else [])
    assert clock.others() == [(end, Terminated(key))]


@pytest.mark.parametrize("transport", ["UDP", *STREAMS])
def test_timer_l_absorbs_the_invite_for_32_s_after_a_2xx(transport):
    clock, key, message, hop = server("INVITE", transport)
    answer = message.create_response(200, to_tag="b")
    clock.note(1.0, clock.layer.respond(key, answer, 1.0))
    via = f"SIP/2.0/{transport} 192.0.2.1;branch=z9hG4bKone"
    clock.note(32.9, clock.layer.on_message(request("INVITE", via), hop, 32.9))
    clock.run()
    assert clock.sends() == [1.0]
    assert clock.others() == [(33.0, Terminated(key))]


# 17.2.2: other servers


@pytest.mark.parametrize(("transport", "end"), [("UDP", 33.0), *((each, 1.0) for each in STREAMS)])
def test_timer_j_repeats_the_answer_for_32_s_over_datagrams_only(transport, end):
    clock, key, message, hop = server("OPTIONS", transport)
    answer = message.create_response(200, to_tag="b")
    clock.note(1.0, clock.layer.respond(key, answer, 1.0))
    if transport == "UDP":
        via = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKone"
        clock.note(32.9, clock.layer.on_message(request("OPTIONS", via), hop, 32.9))
        assert clock.sends() == [1.0, 32.9]
    clock.run()
    assert clock.others() == [(end, Terminated(key))]


def test_nothing_is_ever_sent_for_a_request_that_nobody_answers():
    clock, key, _, _ = server("OPTIONS")
    clock.run()
    assert clock.log == [(32.0, Terminated(key))]


def test_a_late_clock_neither_bursts_nor_sends_past_the_end():
    clock, key, _, _ = client("INVITE")
    late = clock.layer.on_deadline(20.0)
    assert [type(effect) for effect in late] == [Send]
    assert clock.layer.on_deadline(40.0) == [TimedOut(key, "B"), Terminated(key)]
