from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.config import TimerConfig
from callmeter.sip.learned_shapes import LearnedShapes
from callmeter.sip.parser import DEFAULT_LIMITS, parse_message
from callmeter.sip.session_events import Respond, SendRequest
from callmeter.sip.signaling_uas import SignalingUas, UasCounters
from callmeter.sip.transaction import Deliver, Hop, Send, TimedOut, TransactionLayer

KEY = ("s", 1)
BYE_KEY = ("s", 2)
BODY = b"v=0\r\n"


def counted():
    """Entropy that counts."""
    numbers = itertools.count(1)
    return lambda count: next(numbers).to_bytes(count, "big")


def uas(**settings):
    answer = settings.pop("answer", BODY)
    return SignalingUas(answer, "sip:me@192.0.2.1", TimerConfig(), counted(), **settings)


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


def test_the_counters_show_their_figures():
    assert repr(UasCounters()).startswith("UasCounters(answered=0, cancelled=0, confirmed=0, ")


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


# in one step, and in as many as it takes


SOURCES = (Hop("UDP", "192.0.2.2", 5070), Hop("UDP", "192.0.2.3", 5070))


class End:
    """A layer and a user agent; `short` takes what it can in one step."""

    def __init__(self, *, short, served=100, **settings):
        self.short = short
        self.taken_short = 0
        self.tags = {}
        self.sent = []
        self.shapes = LearnedShapes(DEFAULT_LIMITS, after=1)
        self.layer = TransactionLayer(TimerConfig(), counted(), limit=served)
        self.uas = SignalingUas(BODY, "sip:me@192.0.2.1", TimerConfig(), counted(), **settings)

    def hear(self, data, source, now):
        if self.short:
            usual = self.shapes.find(data)
            if usual is not None:
                replies = self.uas.on_usual(self.layer, usual, source, now)
                if replies is not None:
                    self.taken_short += 1
                    self.note((octets, source) for octets in replies)
                    return
        self.apply(self.layer.on_message(parse_message(data), source, now), now)

    def wait(self, now):
        self.apply(self.layer.on_deadline(now), now)
        self.apply(self.uas.on_deadline(now), now)

    def apply(self, effects, now):
        layer, core = self.layer, self.uas
        for effect in effects:
            match effect:
                case Send(_, message, hop):
                    self.note([(message.to_bytes(), hop)])
                case Deliver(None, ack):
                    self.apply(core.on_ack(ack, now), now)
                case Deliver(key, message) if message.is_request:
                    invite_key = layer.invite_key_of(message)
                    merged = layer.is_merged(message, key)
                    effects = core.on_request(
                        key, message, now, merged=merged, invite_key=invite_key
                    )
                    self.apply(effects, now)
                case Respond(key, response):
                    self.apply(layer.respond(key, response, now), now)
                case SendRequest(_, made):
                    self.apply(layer.request(made, SOURCES[0], "192.0.2.1", now)[1], now)
                case TimedOut(key, _):
                    self.apply(core.on_failure(key), now)

    def note(self, sent):
        for octets, hop in sent:
            self.sent.append((octets, hop))
            message = parse_message(octets)
            if not message.is_request and message.status in {180, 200}:
                self.tags.setdefault(message.call_id, message.to_tag)

    def state(self):
        """All that the rest of its life depends on."""
        layer, core = self.layer, self.uas
        transactions = {
            key: (
                type(machine).__name__,
                machine.state,
                machine.hop,
                machine.request.method,
                machine.next_deadline(),
                getattr(machine, "merge", None),
            )
            for key, machine in (layer._servers | layer._clients).items()
        }
        calls = {
            tag: (call.key, call.state, call.cseq, call.answer, call.due, call.gives_up_at)
            for tag, call in core._calls.items()
        }
        counts = [
            getattr(counters, name)
            for counters in (core.counters, layer.counters)
            for name in counters.__slots__
        ]
        waiting = layer.next_deadline(), core.next_deadline()
        return self.sent, transactions, layer._merges, calls, counts, waiting


NUMBERS = {"INVITE": 1, "ACK": 1, "BYE": 2, "OPTIONS": 3, "CANCEL": 1}
PARTS = {
    "host": "192.0.2.2", "port": ":5070", "before": "", "branch": "", "after": "", "extra": "",
    "from_tag": "f", "tag": None, "call_id": "", "number": None, "body": None, "source": 0,
    "type": "application/sdp",
}  # fmt: skip
ODD = [
    {"host": "a"}, {"port": ""}, {"port": ":6000"}, {"before": ";rport"}, {"after": ";rport"},
    {"branch": "z9hG4bK"}, {"branch": "x"}, {"branch": "z9hG4bKINVITE0"}, {"branch": "z9hG4bK+"},
    {"extra": "Record-Route: <sip:r;lr>\r\n"}, {"extra": "Require: x\r\n"}, {"type": None},
    {"extra": "Via: SIP/2.0/UDP x;branch=1\r\n"},
    {"extra": "X-\t: 1\r\n"}, {"from_tag": "g"}, {"tag": ""}, {"tag": "x"}, {"call_id": "c1"},
    {"call_id": "c1", "tag": "its own"},
    {"number": 0}, {"number": 5}, {"body": BODY}, {"body": BODY, "type": "text/plain"},
    {"body": b""}, {"source": 1}, {"tag": "its own"}, {"branch": "z9hG4bK"}, {"branch": "z9hG4bK+"},
]  # fmt: skip


class Step(NamedTuple):
    """One message: of a plain call, but for what is odd about it."""

    method: str
    call: int
    odd: dict[str, object]
    passed: float

    def octets(self, tags):
        method, call = self.method, self.call
        part = PARTS | self.odd
        call_id = part["call_id"] or f"c{call}"
        branch = part["branch"] or f"z9hG4bK{method}{call}"
        tag, body, number = part["tag"], part["body"], part["number"]
        if tag is None:
            tag = tags.get(call_id, "") if method in {"ACK", "BYE"} else ""
        elif tag == "its own":
            tag = tags.get(f"c{call}", "")
        if body is None:
            body = BODY if method == "INVITE" else b""
        number = NUMBERS[method] if number is None else number
        described = f"Content-Type: {part['type']}\r\n" if body and part["type"] else ""
        return (
            f"{method} sip:b@b.example SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {part['host']}{part['port']}{part['before']};branch={branch}"
            f"{part['after']}\r\n{part['extra']}From: <sip:a@a.example>;tag={part['from_tag']}\r\n"
            f"To: <sip:b@b.example>{tag and ';tag=' + tag}\r\nCall-ID: {call_id}\r\n"
            f"CSeq: {number} {method}\r\nContact: <sip:a@192.0.2.2:5070>\r\n{described}"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body


STEPS = st.builds(
    Step,
    st.sampled_from(["INVITE", "ACK", "BYE", "INVITE", "ACK", "BYE", "OPTIONS", "CANCEL"]),
    st.sampled_from([0, 0, 0, 1, 2]),
    st.sampled_from([*[{}] * len(ODD), *ODD]),
    st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.6, 5.0, 33.0]),
)


@given(
    st.lists(STEPS, min_size=1, max_size=12),
    st.sampled_from([1, 2, 100]),
    st.sampled_from([1, 3, 100]),
    st.booleans(),
    st.sampled_from([0.0, 0.0, 0.0, 2.0]),
)
def test_one_step_does_what_all_of_them_do(steps, limit, served, ring, answer_after):
    settings = {"limit": limit, "served": served, "ring": ring, "answer_after": answer_after}
    short, long = End(short=True, **settings), End(short=False, **settings)
    now = 100.0
    for step in steps:
        now += step.passed
        octets = step.octets(long.tags)
        for end in (short, long):
            end.wait(now)
            end.hear(octets, SOURCES[step.odd.get("source", 0)], now)
        assert short.state() == long.state()
    for end in (short, long):
        for later in (0.5, 2.0, 40.0, 40.0):
            end.wait(now + later)
    assert short.state() == long.state()


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("which", range(4))
def test_one_step_does_it_whatever_is_odd_about_a_call(which, odd):
    for methods in (["INVITE", "ACK", "BYE", "BYE"], ["INVITE", "INVITE", "BYE", "ACK"]):
        short, long = End(short=True), End(short=False)
        for number, method in enumerate(methods):
            step = Step(method, 0, odd if number == which else {}, 0.0)
            octets = step.octets(long.tags)
            for end in (short, long):
                end.hear(octets, SOURCES[step.odd.get("source", 0)], 0.1 * number)
            assert short.state() == long.state()
        assert short.taken_short > 0


@pytest.mark.parametrize(
    ("steps", "settings"),
    [
        # The ACK of a refusal ends the repetition of it.
        ([("INVITE", {"extra": "Require: x\r\n"}), ("ACK", {"branch": "z9hG4bKINVITE0"})], {}),
        # The caller goes before the answer.
        ([("INVITE", {}), ("BYE", {})], {"answer_after": 2.0}),
    ],
)
def test_one_step_leaves_to_the_layer_what_is_the_layers(steps, settings):
    short, long = End(short=True, **settings), End(short=False, **settings)
    for method, odd in steps:
        octets = Step(method, 0, odd, 0.0).octets(long.tags)
        for end in (short, long):
            end.hear(octets, SOURCES[0], 0.1)
        assert short.state() == long.state()
    assert short.taken_short == 0


def test_a_plain_call_is_three_steps():
    end = End(short=True)
    plain = request(body=BODY).to_bytes().replace(b"UDP a:5070", b"UDP 192.0.2.2:5070")
    end.hear(plain, SOURCES[0], 0.0)
    tag = end.tags["c"]
    for method, cseq in (("ACK", 1), ("BYE", 2)):
        octets = request(method, tag=tag, cseq=cseq).to_bytes()
        octets = octets.replace(
            b"UDP a:5070;branch=z9hG4bK1", b"UDP 192.0.2.2:5070;branch=z9hG4bK2"
        )
        end.hear(octets, SOURCES[0], 0.1)
    assert end.taken_short == 3
    assert end.uas.counters.ended == 1
    assert [octets[8:11] for octets, _ in end.sent] == [b"180", b"200", b"200"]


def test_the_bye_of_a_call_that_was_answered_in_one_step_is_complete():
    short, long = End(short=True), End(short=False)
    plain = request(body=BODY).to_bytes().replace(b"UDP a:5070", b"UDP 192.0.2.2:5070")
    for end in (short, long):
        end.hear(plain, SOURCES[0], 0.0)
        end.wait(40.0)
        end.wait(80.0)
    assert short.taken_short == 1
    assert short.sent == long.sent
    assert short.sent[-1][0].startswith(b"BYE sip:a@192.0.2.2:5070 SIP/2.0\r\n")
