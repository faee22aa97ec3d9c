from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.sip import learned_shapes
from callmeter.sip.learned_shapes import (
    COUNTED,
    HEAD,
    LEARN_AFTER,
    LEARNED,
    OF_A_KIND,
    LearnedShapes,
    Shape,
)
from callmeter.sip.parser import DEFAULT_LIMITS, ParserLimits, _any_message, usual_match
from callmeter.sip.usual_message import UsualLines

MARKS = ("via", "branch", "from_", "from_tag", "to", "to_tag", "call_id", "number")
VIA = "Via: SIP/2.0/UDP a.example:5070;branch=z9hG4bK-1.a"
FROM = "From: A <sip:a@a.example>;tag=f1;x=y"
TO = "To: <sip:b@b.example>;tag=t.1"
CALL_ID = "Call-ID: 1-2@192.0.2.1"
TARGET = "sip:b@192.0.2.2:5070;transport=UDP"
CONTACT = f"Contact: <{TARGET}>;q=1"
SDP = "Content-Type: application/sdp"
BODY = "v=0\r\ns=-\r\nt=0 0\r\nlast line\r\n"
OK = "SIP/2.0 200 OK"


def message(start, *lines, body=""):
    return "\r\n".join((start, *lines, f"Content-Length: {len(body)}", "", body)).encode("latin-1")


MESSAGES = {
    "invite": message(
        "INVITE sip:b@b.example SIP/2.0",
        VIA, FROM, TO.partition(";")[0], CALL_ID, "CSeq: 1 INVITE", "Max-Forwards: 70", SDP,
        body=BODY,
    ),
    "ack": message("ACK sip:b@b.example SIP/2.0", VIA, FROM, TO, CALL_ID, "CSeq: 1 ACK"),
    "to first": message("BYE sip:b@b.example SIP/2.0", VIA, TO, FROM, CALL_ID, "CSeq: 2 BYE"),
    "any order": message(
        "BYE sip:b SIP/2.0", "CSeq: 2 BYE", CALL_ID, TO, "X-~!: [\xe9 (.*)", FROM, VIA
    ),
    "untagged": message(
        OK, VIA + ";rport=5;received=192.0.2.9", "From: <sip:a>", "To: <sip:b>;x", CALL_ID,
        "CSeq: 1 BYE",
    ),
    "ringing": message("SIP/2.0 180 Ringing", VIA, FROM, TO, CALL_ID, "CSeq: 1 INVITE", CONTACT),
    "answer": message(OK, VIA, FROM, TO, CALL_ID, "CSeq: 1 INVITE", CONTACT, SDP, body=BODY),
}  # fmt: skip


def learner(**settings):
    return LearnedShapes(DEFAULT_LIMITS, **{"after": 1} | settings)


def told(usual):
    """All that a message was found to be, to compare it."""
    if usual is None:
        return None
    shape, marks, data = usual
    return {name: getattr(shape, name) for name in Shape.__slots__}, marks, data


def as_always(data, limits=DEFAULT_LIMITS):
    """What is found without anything learned."""
    found = usual_match(data, limits)
    if found is None:
        return None
    return told((Shape(found), found.group(*MARKS), data))


@pytest.fixture
def learned_alone(monkeypatch):
    """From here on nothing is found but by a shape that was learned."""
    return lambda: monkeypatch.setattr(learned_shapes, "usual_match", lambda *_: None)


@pytest.mark.parametrize("data", MESSAGES.values(), ids=MESSAGES)
def test_what_is_learned_finds_the_next_by_itself(data, learned_alone):
    shapes = learner()
    first = told(shapes.find(data))
    assert first == as_always(data)
    assert len(shapes) == 1
    changed = (
        data.replace(b"z9hG4bK-1.a", b"z9hG4bK.27").replace(b"=f1", b"=another.tag")
        .replace(b"=t.1", b"=s").replace(b"1-2@", b"<3>;").replace(b"CSeq: ", b"CSeq: 99")
        .replace(b"s=-", b"\xff..")
    )  # fmt: skip
    expected = as_always(changed)
    learned_alone()
    assert told(shapes.find(data)) == first
    assert told(shapes.find(changed)) == expected
    assert expected is not None


ODD = ("..", "a..b", ".", "a.", ".a", "\r\n", "\r\n ", "\r\nTo: <sip:c>", "\0", "\xe9", " ", "\t")
PIECES = st.one_of(
    st.sampled_from((*ODD, ";", "=", ";tag=2", ";branch=z", ">", "<", '"', ":", ",", "@", "2", "")),
    st.text("abz019-.!%*_+`'~@:;<>/", max_size=12),
    st.text(st.characters(max_codepoint=255), max_size=4),
)
VALUES = (b"z9hG4bK-1.a", b"f1", b"t.1", b"1-2@192.0.2.1", b" 1 ", b" 2 ", b"last", b"b.example")


@given(
    st.sampled_from([*MESSAGES.values()]),
    st.lists(st.tuples(st.sampled_from(VALUES), st.lists(PIECES, max_size=3)), max_size=3),
)
def test_a_changed_value_is_found_as_if_nothing_were_learned(data, changes):
    shapes = learner()
    shapes.find(data)
    for value, pieces in changes:
        data = data.replace(value, "".join(pieces).encode("latin-1"), 1)
    assert told(shapes.find(data)) == as_always(data)


@given(st.sampled_from([*MESSAGES.values()]), st.data())
def test_a_change_anywhere_is_found_as_if_nothing_were_learned(data, draw):
    shapes = learner()
    shapes.find(data)
    at = draw.draw(st.integers(12, len(data) - 12))
    piece = draw.draw(PIECES).encode("latin-1")
    data = data[:at] + piece + data[at + draw.draw(st.integers(0, 3)) :]
    assert told(shapes.find(data)) == as_always(data)


@given(st.sampled_from(MESSAGES["answer"].split(b"\r\n")[1:6]), PIECES)
def test_what_a_learned_shape_takes_is_a_message(line, piece):
    shapes = learner()
    shapes.find(MESSAGES["answer"])
    data = MESSAGES["answer"].replace(line, line + piece.encode("latin-1"))
    usual = shapes.find(data)
    if usual is not None:
        parsed = _any_message(data, DEFAULT_LIMITS)
        _, (_, branch, _, from_tag, _, to_tag, call_id, number), _ = usual
        assert (parsed.via.branch, parsed.from_.tag, parsed.to.tag) == (branch, from_tag, to_tag)
        assert (parsed.call_id, parsed.cseq.number) == (call_id, int(number))


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"\0" * 30, MESSAGES["ack"][:-3]])
def test_what_is_not_usual_is_not_found(data):
    shapes = learner()
    assert shapes.find(data) is None
    assert len(shapes) == 0


def test_the_length_of_a_message_counts():
    shapes = learner()
    data = MESSAGES["answer"]
    shapes.find(data)
    assert shapes.find(data.replace(b"v=0", b"v=00")) is None
    assert shapes.find(data.replace(b"v=0", b"v=")) is None


def test_a_message_over_a_limit_is_found_by_no_shape():
    data = MESSAGES["answer"]
    limits = ParserLimits(message=len(data))
    shapes = LearnedShapes(limits, after=1)
    assert shapes.find(data) is not None
    assert shapes.find(data.replace(b"1-2@", b"1-2-@")) is None


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("invite", ("INVITE", 0, "a.example", 5070, True, False, True, None)),
        ("any order", ("BYE", 0, "a.example", 5070, True, False, True, None)),
        ("ringing", ("INVITE", 180, "a.example", 5070, True, False, False, TARGET)),
        ("answer", ("INVITE", 200, "a.example", 5070, True, False, False, TARGET)),
    ],
)  # fmt: skip
def test_a_shape_tells_what_its_messages_are(name, facts):
    shape, _, _ = learner().find(MESSAGES[name])
    assert facts == (
        shape.method, shape.status, shape.host, shape.port, shape.one_via, shape.special,
        shape.plain, shape.target,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("z9hG4bK-1.a", "z9hG4bK-1.a;rport"),
        (";branch", ";rport;branch"),
        (CALL_ID, f"{VIA}\r\n{CALL_ID}"),
        (CALL_ID, f"Require: x\r\n{CALL_ID}"),
        (SDP, "X-No: sdp"),
    ],
)
def test_a_request_that_asks_for_more_is_not_plain(old, new):
    data = MESSAGES["invite"].replace(old.encode(), new.encode())
    shape, _, _ = learner().find(data)
    assert not shape.plain
    assert shape.port == 5070


def test_a_via_without_port_and_a_contact_without_brackets_are_read():
    data = (
        MESSAGES["ringing"].replace(b":5070;b", b";b").replace(b"<sip:b@192.0.2.2:5070;", b"sip:b;")
    )
    shape, _, _ = learner().find(data.replace(b"UDP>", b"UDP"))
    assert (shape.port, shape.target) == (None, "sip:b")


def test_a_shape_is_made_of_what_comes_often(learned_alone):
    shapes = LearnedShapes(DEFAULT_LIMITS)
    for _ in range(LEARN_AFTER - 1):
        shapes.find(MESSAGES["ack"])
    assert len(shapes) == 0
    shapes.find(MESSAGES["ack"])
    assert len(shapes) == 1
    learned_alone()
    assert shapes.find(MESSAGES["ack"]) is not None
    assert shapes.find(MESSAGES["invite"]) is None


def test_messages_that_look_alike_have_shapes_of_their_own(learned_alone):
    shapes = learner()
    alike = [MESSAGES["answer"].replace(b"q=1", b"q=%d" % n) for n in range(OF_A_KIND + 1)]
    for data in alike:
        shapes.find(data)
    assert len(shapes) == OF_A_KIND
    learned_alone()
    assert [shapes.find(data) is not None for data in alike] == [False] + [True] * OF_A_KIND


@pytest.mark.parametrize(
    "line",
    [VIA, "Record-Route: <sip:p;lr>", "Subject: " + "x" * HEAD],
    ids=["via", "route", "long"],
)
def test_no_shape_is_made_of_what_is_hardly_sent_again(line):
    shapes = learner()
    data = MESSAGES["invite"].replace(CALL_ID.encode(), f"{CALL_ID}\r\n{line}".encode())
    assert told(shapes.find(data)) == as_always(data) is not None
    assert len(shapes) == 0


def test_who_never_sends_alike_has_few_shapes_made(learned_alone):
    shapes = learner()
    many = [
        MESSAGES["ack"].replace(b"ACK", bytes([65 + n // 26, 65 + n % 26]))
        for n in range(LEARNED + 1)
    ]
    for data in many:
        assert told(shapes.find(data)) == as_always(data) is not None
    assert len(shapes) == LEARNED
    learned_alone()
    assert shapes.find(many[-2]) is not None
    assert shapes.find(many[-1]) is None


def test_no_more_kinds_are_counted_than_so_many():
    shapes = learner(after=2)
    rare = MESSAGES["ack"]
    shapes.find(rare)
    for n in range(COUNTED):
        shapes.find(MESSAGES["answer"].replace(b"last line", b"last %04d" % n))
    shapes.find(rare)
    assert len(shapes) == 0
    shapes.find(rare)
    assert len(shapes) == 1


def test_the_groups_of_marks_are_those_of_usual_lines():
    assert set(MARKS) < set(UsualLines._fields)
