from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.srtp import dtls_records
from callmeter.srtp.dtls_records import (
    alert_name,
    client_random,
    describe,
    fragments,
    pack,
    records,
    starts_server_flight,
)


def first(datagram):
    return next(iter(records(datagram)))


def test_a_datagram_is_split_into_its_records(dtls_record):
    one, two = dtls_record(22, b"abc"), dtls_record(20, b"\x01", epoch=1, sequence=5)
    found = list(records(one + two))
    assert [each.octets for each in found] == [one, two]
    assert [(each.content, each.epoch, each.body) for each in found] == [
        (22, 0, b"abc"),
        (20, 1, b"\x01"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda octets: octets[:-1],
        lambda octets: octets[:12],
        lambda octets: b"\x13" + octets[1:],
        lambda octets: b"\x18" + octets[1:],
        lambda octets: octets[:1] + b"\x03\x03" + octets[3:],
        lambda octets: octets[:11] + b"\x00\x00",
        lambda octets: octets[:11] + b"\x41\x01" + bytes(0x4101),
    ],
)
def test_nothing_is_taken_from_a_wrong_header_on(dtls_record, change):
    good = dtls_record(22, b"abc")
    assert [each.octets for each in records(good + change(good))] == [good]


def test_renumbering_changes_the_sequence_number_alone(dtls_record):
    record = first(dtls_record(22, b"abc", sequence=3))
    assert record.renumbered(77) == dtls_record(22, b"abc", sequence=77)


def test_a_record_may_hold_several_messages(dtls_record, dtls_message):
    body = dtls_message(11, b"cert", sequence=1) + dtls_message(14, b"", sequence=2)
    found = fragments(first(dtls_record(22, body)))
    assert [(each.kind, each.sequence, each.body) for each in found] == [
        (11, 1, b"cert"),
        (14, 2, b""),
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"length": 0xFFFFFF},
        {"length": 4, "offset": 1},
        {"sequence": 17},
        {"length": 3},
    ],
)
def test_messages_with_a_wrong_header_are_not_shown(dtls_record, dtls_message, settings):
    good = dtls_message(1, b"good")
    assert fragments(first(dtls_record(22, good + dtls_message(1, b"body", **settings)))) == ()


def test_an_empty_part_of_a_message_and_a_truncated_one_are_not_shown(dtls_record, dtls_message):
    assert fragments(first(dtls_record(22, dtls_message(1, b"", length=5)))) == ()
    assert fragments(first(dtls_record(22, dtls_message(1, b"body")[:-1]))) == ()


def test_the_random_octets_tell_client_hellos_apart(dtls_record, dtls_message):
    hello = b"\xfe\xfd" + bytes(range(32)) + b"rest"
    datagram = dtls_record(21, b"\x01\x00") + dtls_record(22, dtls_message(1, hello))
    assert client_random(datagram) == bytes(range(32))


def test_other_datagrams_have_no_client_random(dtls_record, dtls_message):
    hello = b"\xfe\xfd" + bytes(range(32))
    for body in (
        dtls_message(2, hello),
        dtls_message(1, hello, offset=9, length=60),
        dtls_message(1, hello[:20]),
    ):
        assert client_random(dtls_record(22, body)) is None
    assert client_random(dtls_record(22, dtls_message(1, hello), epoch=1)) is None


def test_the_first_flight_of_a_server_is_known(dtls_record, dtls_message):
    assert starts_server_flight(dtls_record(22, dtls_message(2, b"hello")))
    assert starts_server_flight(dtls_record(22, dtls_message(3, b"cookie")))
    assert not starts_server_flight(dtls_record(22, dtls_message(11, b"certificate")))
    assert not starts_server_flight(dtls_record(22, dtls_message(2, b"hello"), epoch=1))
    assert not starts_server_flight(dtls_record(21, b"\x02\x28"))


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"\x02\x28", "handshake_failure"),
        (b"\x02\xfe", "number 254"),
        (b"\x01\x00", None),
        (b"\x02", None),
    ],
)
def test_only_fatal_alerts_have_a_name(dtls_record, body, name):
    assert alert_name(first(dtls_record(21, body))) == name


def test_a_flight_is_described_by_its_messages(dtls_record, dtls_message):
    flight = b"".join(
        (
            dtls_record(22, dtls_message(11, b"a", length=2)),
            dtls_record(22, dtls_message(11, b"b", length=2, offset=1)),
            dtls_record(22, dtls_message(99, b"new")),
            dtls_record(20, b"\x01"),
            dtls_record(22, b"secret", epoch=1),
            dtls_record(21, b"\x02\x28"),
            dtls_record(21, b"\x01\x00"),
            dtls_record(21, b"secret", epoch=1),
            dtls_record(23, b"secret", epoch=1),
        )
    )
    assert describe(records(flight)) == (
        "Certificate, message 99, ChangeCipherSpec, Finished, alert handshake_failure,"
        " alert warning, alert, application data"
    )


def test_records_are_packed_in_order_into_datagrams_that_fit():
    assert pack([b"aaa", b"bb", b"cccc", b"d"], 5) == [b"aaabb", b"ccccd"]
    assert pack([b"longer than it may be", b"x"], 5) == [b"longer than it may be", b"x"]
    assert pack([], 5) == []


@given(st.binary(max_size=200))
def test_any_octets_are_read_without_an_error(datagram):
    datagram = b"\x16\xfe\xfd\x00\x00" + bytes(6) + len(datagram).to_bytes(2, "big") + datagram
    found = list(records(datagram))
    assert sum(len(each.octets) for each in found) <= len(datagram)
    assert isinstance(describe(found), str)
    assert dtls_records.client_random(datagram) is None or len(datagram) > 32
