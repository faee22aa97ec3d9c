from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.config import TimerConfig
from callmeter.sip.learned_shapes import LearnedShapes
from callmeter.sip.parser import DEFAULT_LIMITS, parse_message
from callmeter.sip.prepared_messages import PreparedRequest
from callmeter.sip.session_events import CancelRequest, Respond, SendAck, SendRequest
from callmeter.sip.signaling_uac import Means, SignalingUac, UacCounters
from callmeter.sip.transaction import (
    Deliver,
    Hop,
    Send,
    Terminated,
    TimedOut,
    TransactionLayer,
    TransportFailed,
)
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


def test_the_counters_show_their_figures():
    assert repr(UacCounters()) == (
        "UacCounters(answered=0, ended=0, failed=0, invites=0, refused=0, statuses={})"
    )


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


# in one step, and in as many as it takes


THERE = Hop("UDP", "192.0.2.2", 5060)
SENT_BY = "192.0.2.1:5060"


def counted():
    """Entropy that counts."""
    numbers = itertools.count(1)
    return lambda count: (next(numbers).to_bytes(8, "big") * 2)[:count]


class End:
    """A layer and a user agent; `short` does what it can in one step."""

    def __init__(self, *, short, **settings):
        self.short = short
        self.done_short = 0
        self.sent = []
        self.shapes = LearnedShapes(DEFAULT_LIMITS, after=1)
        self.layer = TransactionLayer(TimerConfig(), counted())
        self.uac = SignalingUac(
            parse_uri("sip:bob@192.0.2.2"),
            "<sip:alice@192.0.2.1>",
            "sip:alice@192.0.2.1",
            OFFER,
            counted(),
            **settings,
        )
        self.means = Means(self.layer, {}, {}, {})

    def place(self, now):
        post = self.uac.call_at_once(self.means, now) if self.short else None
        if post is None:
            self.apply(self.uac.call(now), now)
        else:
            self.done_short += 1
            self.sent.append(post[:2])

    def hear(self, data, source, now):
        if self.short:
            usual = self.shapes.find(data)
            posts = None if usual is None else self.uac.on_usual(self.means, usual, source, now)
            if posts is not None:
                self.done_short += 1
                self.sent += [post[:2] for post in posts]
                return
        self.apply(self.layer.on_message(parse_message(data), source, now), now)

    def wait(self, now):
        self.apply(self.layer.on_deadline(now), now)
        self.apply(self.uac.on_deadline(now), now)

    def hang_up(self, now):
        self.apply(self.uac.hang_up(), now)

    def apply(self, effects, now):
        layer, core, (_, ways, tokens, keys) = self.layer, self.uac, self.means
        for effect in effects:
            match effect:
                case Send(_, message, hop):
                    self.sent.append((message.to_bytes(), hop))
                case Deliver(key, message) if message.is_request:
                    self.apply(core.on_request(key, message), now)
                case Deliver(key, message) if key in tokens:
                    self.apply(core.on_response(tokens[key], message, now), now)
                case Respond(key, message):
                    self.apply(layer.respond(key, message, now), now)
                case SendRequest(token, request):
                    if isinstance(request, PreparedRequest):
                        ways[request.uri_text] = THERE, SENT_BY
                    key, further = layer.request(request, THERE, SENT_BY, now)
                    if token:
                        tokens[key] = token
                    if token > 0:
                        keys[token] = key
                    self.apply(further, now)
                case SendAck(request):
                    self.apply(layer.stateless(request, THERE, SENT_BY), now)
                case CancelRequest(token) if token in keys:
                    self.apply(layer.cancel(keys[token], now)[1], now)
                case TimedOut(key, _) | TransportFailed(key, _) if key in tokens:
                    self.apply(core.on_failure(tokens[key]), now)
                case Terminated(key) if key in tokens:
                    keys.pop(tokens.pop(key), None)

    def state(self):
        """All that the rest of its life depends on."""
        layer, core = self.layer, self.uac
        transactions = {
            key: (
                type(machine).__name__,
                machine.state,
                machine.hop,
                machine.request.to_bytes() if machine.request.method in key else None,
                machine.next_deadline(),
                getattr(machine, "cancel_key", None),
            )
            for key, machine in (layer._clients | layer._servers).items()
        }
        calls = {
            token: (
                call.tag,
                call.call_id,
                call.remote,
                call.state,
                call.bye is None or call.state.name == "LEAVING" or call.bye.to_bytes(),
                call.due,
            )
            for token, call in core._calls.items()
        }
        counts = [
            getattr(counters, name)
            for counters in (core.counters, layer.counters)
            for name in counters.__slots__
        ]
        waiting = layer.next_deadline(), core.next_deadline()
        _, _, tokens, keys = self.means
        return self.sent, transactions, calls, set(core._by_tag), counts, waiting, tokens, keys


ODD = [
    {"status": 100}, {"status": 183}, {"status": 202}, {"status": 302}, {"status": 486},
    {"tag": "u"}, {"contact": ""}, {"contact": "Contact: <sip:bob@192.0.2.9>\r\n"},
    {"contact": "Contact: sip:bob@192.0.2.3:5070;a=b\r\n"},
    {"extra": "Record-Route: <sip:p;lr>\r\n"}, {"extra": "Via: SIP/2.0/UDP x;branch=1\r\n"},
    {"extra": "X-\t: 1\r\n"}, {"branch": "z9hG4bKx"}, {"source": Hop("TCP", "192.0.2.2", 5060)},
    {"source": Hop("UDP", "192.0.2.7", 9)}, {"to": 'To: "\xfcber" <sip:bob@192.0.2.2>'},
]  # fmt: skip


class Step(NamedTuple):
    """What happens: a call is placed, a request is answered, or all is hung up."""

    what: str
    which: int
    odd: dict[str, object]
    passed: float

    def octets(self, sent):
        """The response to a request that was sent, or a BYE in its dialog; None without it."""
        method = "BYE" if self.what == "the end" else "INVITE"
        requests = [octets for octets, _ in sent if octets.startswith(method.encode())]
        if not requests:
            return None
        request = parse_message(requests[self.which % len(requests)])
        status = {"ringing": 180, "the answer": 200, "the end": 200, "its BYE": 0}[self.what]
        status = self.odd.get("status", status)
        tag = self.odd.get("tag", "t")
        to = self.odd.get("to", f"To: {request.to}".partition(";tag")[0])
        contact = self.odd.get("contact", "Contact: <sip:bob@192.0.2.3:5070>\r\n")
        branch = self.odd.get("branch", request.branch)
        start, via, number = f"SIP/2.0 {status} Word", str(request.via), str(request.cseq)
        both = f"From: {request.from_}\r\n{to};tag={tag}\r\n"
        if self.what == "its BYE":
            start, via, number = "BYE sip:a SIP/2.0", "SIP/2.0/UDP b;branch=z9hG4bK1", "7 BYE"
            both = f"From: {to[4:]};tag={tag}\r\nTo: {request.from_}\r\n"
        via = via.replace(request.branch, branch)
        return (
            f"{start}\r\nVia: {via}\r\n{self.odd.get('extra', '')}{both}"
            f"Call-ID: {request.call_id}\r\nCSeq: {number}\r\n{contact}Content-Length: 0\r\n\r\n"
        ).encode("latin-1", "surrogateescape")


def go(step, ends, now):
    octets = None if step.what in {"call", "hang up"} else step.octets(ends[0].sent)
    for end in ends:
        end.wait(now)
        if step.what == "call":
            end.place(now)
        elif step.what == "hang up":
            end.hang_up(now)
        elif octets is not None:
            end.hear(octets, step.odd.get("source", THERE), now)


STEPS = st.builds(
    Step,
    st.sampled_from(
        ["call", "ringing", "the answer", "the end"] * 3 + ["its BYE", "hang up", "call"]
    ),
    st.sampled_from([0, 0, -1, -1, 1]),
    st.sampled_from([*[{}] * len(ODD), *ODD]),
    st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.6, 5.0, 33.0]),
)


@given(st.lists(STEPS, min_size=1, max_size=14), st.sampled_from([0.0, 0.0, 2.0]))
def test_one_step_does_what_all_of_them_do(steps, hold):
    ends = short, long = [End(short=short, hold=hold, ring_timeout=30.0) for short in (True, False)]
    now = 100.0
    for step in (Step("call", 0, {}, 0.0), *steps):
        now += step.passed
        go(step, ends, now)
        short.means.ways["sip:bob@192.0.2.3:5070"] = THERE, SENT_BY
        assert short.state() == long.state()
    for later in (1.0, 2.0, 40.0, 80.0, 120.0):
        for end in ends:
            end.wait(now + later)
        assert short.state() == long.state()


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("which", range(1, 6))
@pytest.mark.parametrize("hold", [0.0, 2.0])
def test_one_step_does_it_whatever_is_odd_about_a_call(which, odd, hold):
    ends = short, long = [End(short=short, hold=hold) for short in (True, False)]
    short.means.ways["sip:bob@192.0.2.2"] = THERE, SENT_BY
    short.means.ways["sip:bob@192.0.2.3:5070"] = THERE, SENT_BY
    doings = ["call", "ringing", "the answer", "the answer", "the end", "the end"]
    for number, what in enumerate(doings):
        go(Step(what, 0, odd if number == which else {}, 0.0), ends, 0.1 * number)
        assert short.state() == long.state()
    go(Step("hang up", 0, {}, 0.0), ends, 3.0)
    go(Step("the end", 0, {}, 0.0), ends, 3.1)
    assert short.state() == long.state()
    assert short.done_short > 0


def test_a_plain_call_is_four_steps():
    end = End(short=True)
    for uri in ("sip:bob@192.0.2.2", "sip:bob@192.0.2.3:5070"):
        end.means.ways[uri] = THERE, SENT_BY
    for number, what in enumerate(["call", "ringing", "the answer", "the end"]):
        go(Step(what, 0, {}, 0.0), [end], 0.1 * number)
    assert end.done_short == 4
    assert [octets[:3] for octets, _ in end.sent] == [b"INV", b"ACK", b"BYE"]
    assert (end.uac.counters.ended, len(end.uac)) == (1, 0)


@pytest.mark.parametrize("first", ["ringing", "hang up"])
def test_a_call_that_is_given_up_is_left_to_the_layer(first):
    ends = short, long = [End(short=short) for short in (True, False)]
    short.means.ways["sip:bob@192.0.2.2"] = THERE, SENT_BY
    steps = [first, "hang up", "ringing", "the answer"]
    for number, what in enumerate(["call", *steps]):
        go(Step(what, 0, {}, 0.0), ends, 0.1 * number)
        assert short.state() == long.state()
    assert any(octets.startswith(b"CANCEL") for octets, _ in long.sent)
