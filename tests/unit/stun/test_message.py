from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from aioice import stun

from callmeter.stun.message import (
    MAX_ATTRIBUTES,
    error_response,
    read_request,
    success_response,
)

VECTORS = Path(__file__).parents[2] / "vectors" / "stun_rfc5769.json"
SAMPLES = {
    sample["section"]: sample
    for sample in json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]
}
REQUEST = bytes.fromhex(SAMPLES["2.1"]["hex"])
KEY = SAMPLES["2.1"]["password"].encode()
TRANSACTION = bytes(range(12))
SOURCE = ("192.0.2.9", 4321)


def attribute(kind, value=b""):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def message(*attributes, kind=1, cookie=stun.COOKIE):
    body = b"".join(attributes)
    return struct.pack("!HHI12s", kind, len(body), cookie, TRANSACTION) + body


def signed(*attributes, after=(), key=KEY):
    data = message(*attributes)
    data = message(*attributes, attribute(8, stun.message_integrity(data, key)), *after)
    fingerprint = stun.message_fingerprint(data).to_bytes(4, "big")
    return message(data[20:], attribute(0x8028, fingerprint))


def test_the_request_of_rfc_5769_is_read_and_authentic():
    request = read_request(REQUEST)
    assert request.username == SAMPLES["2.1"]["username"]
    assert request.priority == int(SAMPLES["2.1"]["priority"], 16)
    assert request.controlled
    assert not request.use_candidate
    assert request.unknown == ()
    assert request.signed
    assert request.is_authentic(KEY)
    assert not request.is_authentic(b"another")


@pytest.mark.parametrize("section", ["2.2", "2.3"])
def test_the_responses_of_rfc_5769_are_no_requests(section):
    assert read_request(bytes.fromhex(SAMPLES[section]["hex"])) is None


@pytest.mark.parametrize(
    "source", [("192.0.2.1", 32853), ("2001:db8:1234:5678:11:2233:4455:6677", 32853)]
)
def test_an_answer_tells_the_source_and_is_signed(source):
    answer = stun.parse_message(success_response(read_request(REQUEST), source, KEY))
    assert answer.message_class is stun.Class.RESPONSE
    assert answer.transaction_id == REQUEST[8:20]
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == source
    assert list(answer.attributes)[-2:] == ["MESSAGE-INTEGRITY", "FINGERPRINT"]
    assert answer.check_message_integrity(KEY)


def test_a_refusal_is_signed_for_those_who_know_the_password():
    answer = stun.parse_message(error_response(read_request(REQUEST), 487, KEY))
    assert answer.message_class is stun.Class.ERROR
    assert answer.attributes["ERROR-CODE"] == (487, "Role Conflict")
    assert answer.check_message_integrity(KEY)


def test_a_refusal_of_an_unsigned_request_is_not_signed():
    request = read_request(message())
    assert (request.username, request.signed) == (None, False)
    assert not request.is_authentic(KEY)
    answer = stun.parse_message(error_response(request, 400))
    assert list(answer.attributes) == ["ERROR-CODE", "FINGERPRINT"]


def test_attributes_that_have_to_be_understood_are_named():
    request = read_request(signed(attribute(0x7001), attribute(0xC001), attribute(0x7002)))
    assert request.unknown == (0x7001, 0x7002)
    answer = error_response(request, 420, KEY)
    assert attribute(0x000A, b"\x70\x01\x70\x02") in answer
    assert stun.parse_message(answer).check_message_integrity(KEY)


def test_what_stands_behind_the_signature_does_not_count():
    username, extra = attribute(6, b"a:b"), attribute(0x0025)
    request = read_request(signed(username, after=(extra, attribute(0x7001))))
    assert request.is_authentic(KEY)
    assert request.username == "a:b"
    assert not request.use_candidate
    assert request.unknown == ()


def test_a_username_behind_the_signature_is_none():
    assert read_request(signed(after=(attribute(6, b"a:b"),))).username is None


def test_a_nomination_and_its_priority_are_read():
    request = read_request(signed(attribute(0x25), attribute(0x24, b"\x01\x02\x03\x04")))
    assert request.use_candidate
    assert request.priority == 0x01020304


@pytest.mark.parametrize(
    "data",
    [
        b"",
        REQUEST[:19],
        REQUEST[:-4],
        REQUEST + bytes(4),
        REQUEST[:-1] + b"\0",  # FINGERPRINT
        message(kind=0x0011),
        message(kind=0x0101),
        message(cookie=1),
        message(b"\0\0"),
        message(struct.pack("!HH", 6, 5)),
        message(struct.pack("!HH", 6, 0xFFFF)),
        message(attribute(6, b"a:b"), attribute(6, b"a:b")),
        message(attribute(6, b"\xff")),
        message(attribute(0x24, b"\x01")),
        message(attribute(0x20, b"\0\1\0\0")),
        message(*[attribute(0x8100)] * (MAX_ATTRIBUTES + 1)),
    ],
)
def test_what_is_no_well_formed_request_is_none(data):
    assert read_request(data) is None


def test_as_many_attributes_as_are_allowed_are_read():
    assert read_request(message(*[attribute(0x8100)] * MAX_ATTRIBUTES)) is not None


def test_a_signature_of_another_length_is_not_authentic():
    assert not read_request(message(attribute(8, b"short"))).is_authentic(KEY)
