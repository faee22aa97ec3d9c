"""RFC 3263 as a procedure: what is asked, in which order targets come, when there are none."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.config import Transport
from callmeter.sip.server_location import (
    AddressRecord,
    Answer,
    NaptrRecord,
    Question,
    ServerLocation,
    SrvRecord,
    Target,
    srv_order,
)
from callmeter.sip.uri import parse_uri

UDP, TCP, TLS, WSS, AUTO = Transport
ALL = frozenset({UDP, TCP, TLS, WSS})

TLS_FIRST = [
    '10 10 "s" "SIPS+D2T" "" _sips._tcp.example.com',
    '20 10 "s" "SIP+D2T" "" _sip._tcp.example.com',
    '30 10 "s" "SIP+D2U" "" _sip._udp.example.com',
]
EVERY_SERVICE = {
    "SRV _sips._tcp.example.com": ["10 100 5061 one.example.com"],
    "SRV _sip._tcp.example.com": ["10 100 5060 one.example.com"],
    "SRV _sip._udp.example.com": ["10 100 5060 one.example.com"],
    "A one.example.com": ["192.0.2.1"],
}
TWO_SERVERS = {
    f"SRV {service}.example.com": [f"10 0 {port} one.example.com", f"20 0 {port} two.example.com"]
    for service, port in (("_sips._tcp", 5061), ("_sip._tcp", 5060), ("_sip._udp", 5060))
} | {"A one.example.com": ["192.0.2.1"], "A two.example.com": ["192.0.2.2"]}


def seeded(seed=1):
    return random.Random(seed).randbytes


def record_of(kind, text):
    fields = text.split()
    if kind == "SRV":
        return SrvRecord(int(fields[0]), int(fields[1]), int(fields[2]), fields[3])
    if kind == "NAPTR":
        order, preference, *quoted, replacement = fields
        flags, service, regexp = (part.strip('"') for part in quoted)
        return NaptrRecord(int(order), int(preference), flags, service, regexp, replacement)
    return AddressRecord(text)


def answer_from(zone, question):
    """A zone is a mapping of "TYPE name" to records; a str in place of records is an outcome."""
    held = zone.get(str(question))
    if isinstance(held, str):
        return Answer(question, outcome=held, detail="as told")
    if held:
        return Answer(question, tuple(record_of(question.type, text) for text in held))
    named = any(key.split()[1] == question.name for key in zone)
    return Answer(question, outcome="no-data" if named else "nxdomain")


def locate(zone, uri="sip:example.com", transport=AUTO, *, reverse=False, **options):
    options = {"supported": ALL, "entropy": seeded()} | options
    location = ServerLocation(parse_uri(uri), transport, **options)
    while questions := location.questions():
        assert len(set(questions)) == len(questions)
        for question in reversed(questions) if reverse else questions:
            location.on_answer(answer_from(zone, question))
    assert location.finished
    assert (location.error is None) == bool(location.targets)
    return location


def found(zone, *args, **options):
    return [str(target) for target in locate(zone, *args, **options).targets]


def asked(location):
    return [str(answer.question) for answer in location.asked]


# AUTO: the questions


def test_naptr_then_srv_then_addresses_are_asked_each_stage_at_once():
    location = ServerLocation(
        parse_uri("sip:bob@Example.COM."), AUTO, supported=ALL, entropy=seeded()
    )
    zone = EVERY_SERVICE | {"NAPTR example.com": TLS_FIRST}
    stages = []
    while questions := location.questions():
        stages.append([str(question) for question in questions])
        for question in questions:
            location.on_answer(answer_from(zone, question))
    assert stages == [
        ["NAPTR example.com"],
        [
            "SRV _sips._tcp.example.com",
            "SRV _sip._tcp.example.com",
            "SRV _sip._udp.example.com",
        ],
        ["A one.example.com", "AAAA one.example.com"],
    ]
    assert asked(location) == [question for stage in stages for question in stage]


def test_answers_may_come_in_any_order_twice_and_unasked():
    zone = TWO_SERVERS | {"NAPTR example.com": TLS_FIRST}
    straight, turned = locate(zone), locate(zone, reverse=True)
    assert straight.targets == turned.targets
    assert asked(straight) == asked(turned)
    location = ServerLocation(parse_uri("sip:example.com"), AUTO, supported=ALL, entropy=seeded())
    location.on_answer(Answer(Question("elsewhere", "A"), (AddressRecord("192.0.2.9"),)))
    [naptr] = location.questions()
    location.on_answer(answer_from(zone, naptr))
    first, *_ = location.questions()
    location.on_answer(answer_from(zone, first))
    location.on_answer(Answer(first, outcome="failure"))
    assert first not in location.questions()
    assert not location.finished
    assert location.targets == ()


def test_a_target_keeps_the_domain_of_the_uri_as_the_name_for_certificates():
    zone = {
        "NAPTR example.com": ['10 10 "s" "SIPS+D2T" "" _sips._tcp.host.example.net'],
        "SRV _sips._tcp.host.example.net": ["10 10 5061 Pool.Example.NET."],
        "A pool.example.net": ["192.0.2.7"],
    }
    [target] = locate(zone).targets
    assert target == Target(TLS, "pool.example.net", "192.0.2.7", 5061, "example.com")


# The cases of the resolver suite that other stacks are tested with: 13 SRV, 8 NAPTR, A, AAAA

SRV_CASES = {
    "srv: the transport configured decides which service is asked": (
        TWO_SERVERS, "sip:example.com", TCP, ALL,
        ["TCP 192.0.2.1:5060", "TCP 192.0.2.2:5060"],
    ),
    "srv: transport=udp in the URI": (
        TWO_SERVERS, "sip:example.com;transport=udp", AUTO, ALL,
        ["UDP 192.0.2.1:5060", "UDP 192.0.2.2:5060"],
    ),
    "srv: transport=tcp in the URI": (
        TWO_SERVERS, "sip:example.com;transport=tcp", AUTO, ALL,
        ["TCP 192.0.2.1:5060", "TCP 192.0.2.2:5060"],
    ),
    "srv: no transport named, only UDP served": (
        {"SRV _sip._udp.example.com": ["10 1 5080 one.example.com"],
         "A one.example.com": ["192.0.2.1"]},
        "sip:example.com", AUTO, ALL, ["UDP 192.0.2.1:5080"],
    ),
    "srv: the lower priority value first": (
        {"SRV _sip._udp.example.com": ["20 1 5060 two.example.com", "5 0 5060 one.example.com"],
         "A one.example.com": ["192.0.2.1"], "A two.example.com": ["192.0.2.2"]},
        "sip:example.com", UDP, ALL, ["UDP 192.0.2.1:5060", "UDP 192.0.2.2:5060"],
    ),
    "srv: out of dialog, the second target stands behind the first, UDP": (
        TWO_SERVERS, "sip:example.com", UDP, ALL,
        ["UDP 192.0.2.1:5060", "UDP 192.0.2.2:5060"],
    ),
    "srv: out of dialog, the second target stands behind the first, TLS": (
        TWO_SERVERS, "sip:example.com", TLS, ALL,
        ["TLS 192.0.2.1:5061", "TLS 192.0.2.2:5061"],
    ),
    "srv: out of dialog, no transport named, fail-over walks through the transports": (
        TWO_SERVERS, "sip:example.com", AUTO, frozenset({TCP, UDP}),
        ["TCP 192.0.2.1:5060", "TCP 192.0.2.2:5060", "UDP 192.0.2.1:5060", "UDP 192.0.2.2:5060"],
    ),
    "srv: out of dialog, a server that times out has one behind it of the same priority": (
        {"SRV _sip._udp.example.com": ["1 0 5999 one.example.com", "1 0 5060 one.example.com"],
         "A one.example.com": ["192.0.2.1"]},
        "sip:example.com", UDP, ALL, ["UDP 192.0.2.1:5999", "UDP 192.0.2.1:5060"],
    ),
    "srv: in dialog, a remote target with transport=udp": (
        TWO_SERVERS, "sip:bob@example.com;transport=udp", UDP, ALL,
        ["UDP 192.0.2.1:5060", "UDP 192.0.2.2:5060"],
    ),
    "srv: in dialog, a remote target with transport=tcp": (
        TWO_SERVERS, "sip:bob@example.com;transport=tcp", UDP, ALL,
        ["TCP 192.0.2.1:5060", "TCP 192.0.2.2:5060"],
    ),
    "srv: in dialog, no transport named": (
        TWO_SERVERS, "sip:bob@example.com", AUTO, frozenset({UDP}),
        ["UDP 192.0.2.1:5060", "UDP 192.0.2.2:5060"],
    ),
    "srv: in dialog, every address of a server that times out comes before the next server": (
        TWO_SERVERS | {"AAAA one.example.com": ["2001:db8::1"]},
        "sip:bob@example.com;transport=tls", AUTO, ALL,
        ["TLS 192.0.2.1:5061", "TLS [2001:db8::1]:5061", "TLS 192.0.2.2:5061"],
    ),
}  # fmt: skip
NAPTR_CASES = {
    "naptr: not asked when a transport is configured": (
        EVERY_SERVICE | {"NAPTR example.com": TLS_FIRST}, "sip:example.com", UDP, ALL,
        ["UDP 192.0.2.1:5060"],
    ),
    "naptr: not asked when the URI says transport=udp": (
        EVERY_SERVICE | {"NAPTR example.com": TLS_FIRST}, "sip:example.com;transport=udp", AUTO,
        ALL, ["UDP 192.0.2.1:5060"],
    ),
    "naptr: not asked when the URI says transport=tcp": (
        EVERY_SERVICE | {"NAPTR example.com": TLS_FIRST}, "sip:example.com;transport=TCP", AUTO,
        ALL, ["TCP 192.0.2.1:5060"],
    ),
    "naptr: no transport named, each service in its turn": (
        EVERY_SERVICE | {"NAPTR example.com": TLS_FIRST}, "sip:example.com", AUTO, ALL,
        ["TLS 192.0.2.1:5061", "TCP 192.0.2.1:5060", "UDP 192.0.2.1:5060"],
    ),
    "naptr: order decides before preference": (
        EVERY_SERVICE | {"NAPTR example.com": [
            '20 1 "s" "SIPS+D2T" "" _sips._tcp.example.com',
            '10 90 "s" "SIP+D2U" "" _sip._udp.example.com']},
        "sip:example.com", AUTO, ALL, ["UDP 192.0.2.1:5060", "TLS 192.0.2.1:5061"],
    ),
    "naptr: preference decides within one order": (
        EVERY_SERVICE | {"NAPTR example.com": [
            '10 20 "s" "SIP+D2U" "" _sip._udp.example.com',
            '10 10 "s" "SIP+D2T" "" _sip._tcp.example.com']},
        "sip:example.com", AUTO, ALL, ["TCP 192.0.2.1:5060", "UDP 192.0.2.1:5060"],
    ),
    "naptr: the preferred service has no SRV records, the next has": (
        {"NAPTR example.com": [
            '10 10 "s" "SIP+D2T" "" _sip._tcp.gone.example.com',
            '10 20 "s" "SIP+D2U" "" _sip._udp.example.com'],
         "SRV _sip._udp.example.com": ["10 1 5060 one.example.com"],
         "A one.example.com": ["192.0.2.1"]},
        "sip:example.com", AUTO, ALL, ["UDP 192.0.2.1:5060"],
    ),
    "naptr: services whose transport is not open here are passed over": (
        EVERY_SERVICE | {"NAPTR example.com": TLS_FIRST}, "sip:example.com", AUTO,
        frozenset({UDP}), ["UDP 192.0.2.1:5060"],
    ),
}  # fmt: skip
ADDRESS_CASES = {
    "a: a name with an IPv4 address alone": (
        {"A example.com": ["192.0.2.1"]}, "sip:example.com", AUTO, ALL, ["UDP 192.0.2.1:5060"],
    ),
    "aaaa: a name with an IPv6 address alone": (
        {"AAAA example.com": ["2001:db8::1"]}, "sip:example.com", AUTO, ALL,
        ["UDP [2001:db8::1]:5060"],
    ),
}  # fmt: skip
CASES = SRV_CASES | NAPTR_CASES | ADDRESS_CASES


@pytest.mark.parametrize(
    ("zone", "uri", "transport", "supported", "targets"), CASES.values(), ids=CASES
)
def test_the_targets_of_a_zone(zone, uri, transport, supported, targets):
    assert found(zone, uri, transport, supported=supported) == targets


def test_the_cases_are_thirteen_of_srv_eight_of_naptr_and_one_of_each_address_type():
    assert (len(SRV_CASES), len(NAPTR_CASES), len(ADDRESS_CASES)) == (13, 8, 2)


# AUTO and its NAPTR records


@pytest.mark.parametrize(
    "unusable",
    [
        '5 10 "u" "E2U+sip" "!^.*$!sip:x@example.com!" .',
        '5 10 "s" "SIP+D2S" "" _sip._sctp.example.com',
        '5 10 "s" "SIP+D2W" "" _sip._ws.example.com',
        '5 10 "a" "SIPS+D2T" "" one.example.com',
        '5 10 "" "SIPS+D2T" "" _sips._tcp.example.com',
        '5 10 "s" "SIPS+D2T" "!a!b!" _sips._tcp.example.com',
        '5 10 "s" "SIPS+D2T" "" .',
    ],
)
def test_a_naptr_record_that_names_no_known_service_is_passed_over(unusable):
    usable = '10 10 "S" "sip+D2u" "" _sip._udp.example.com'
    zone = EVERY_SERVICE | {"NAPTR example.com": [unusable, usable]}
    assert found(zone) == ["UDP 192.0.2.1:5060"]


def test_records_of_another_type_in_an_answer_count_for_nothing():
    location = ServerLocation(parse_uri("sip:example.com"), AUTO, supported=ALL, entropy=seeded())
    for stage in range(3):
        for question in location.questions():
            odd = SrvRecord(1, 1, 1, "odd") if stage != 1 else AddressRecord("192.0.2.66")
            location.on_answer(Answer(question, (odd,)))
    assert location.finished
    assert location.targets == ()


def test_naptr_records_without_a_usable_one_are_as_good_as_none():
    zone = EVERY_SERVICE | {"NAPTR example.com": ['5 10 "s" "SIP+D2S" "" _sip._sctp.example.com']}
    assert found(zone, supported=frozenset({TCP})) == ["TCP 192.0.2.1:5060"]


def test_equal_naptr_records_put_the_secure_transport_first():
    service_names = [
        ("SIP+D2U", "_sip._udp"), ("SIP+D2T", "_sip._tcp"), ("SIPS+D2T", "_sips._tcp"),
    ]  # fmt: skip
    records = [f'10 10 "s" "{service}" "" {name}.example.com' for service, name in service_names]
    expected = ["TLS 192.0.2.1:5061", "TCP 192.0.2.1:5060", "UDP 192.0.2.1:5060"]
    for shuffled in (records, records[::-1]):
        assert found(EVERY_SERVICE | {"NAPTR example.com": shuffled}) == expected


def test_a_websocket_server_is_found_by_its_naptr_record():
    zone = {
        "NAPTR example.com": ['10 10 "s" "SIPS+D2W" "" _sips._ws.example.com'],
        "SRV _sips._ws.example.com": ["10 1 8443 one.example.com"],
        "A one.example.com": ["192.0.2.1"],
    }
    assert found(zone) == ["WSS 192.0.2.1:8443"]
    assert found(zone, "sips:example.com") == ["WSS 192.0.2.1:8443"]


def test_naptr_records_that_lead_nowhere_are_an_error_and_no_reason_for_plain_udp():
    zone = {
        "NAPTR example.com": ['10 10 "s" "SIP+D2U" "" _sip._udp.nowhere.example.com'],
        "A example.com": ["192.0.2.1"],
    }
    location = locate(zone)
    assert not location.fell_back
    assert location.error == (
        "the NAPTR records of example.com lead to no server: "
        "SRV _sip._udp.nowhere.example.com: no such name"
    )


def test_a_name_server_that_cannot_say_naptr_does_not_hide_the_srv_records():
    zone = EVERY_SERVICE | {"NAPTR example.com": "failure"}
    assert found(zone, supported=frozenset({TLS})) == ["TLS 192.0.2.1:5061"]


# AUTO: SRV and the last resort


def test_without_naptr_the_srv_names_of_open_transports_are_asked_and_none_for_websockets():
    location = locate({"A example.com": ["192.0.2.1"]}, supported=frozenset({TLS, UDP, WSS}))
    assert asked(location)[1:3] == ["SRV _sips._tcp.example.com", "SRV _sip._udp.example.com"]
    assert "_ws" not in str(location.asked)


def test_without_naptr_and_srv_auto_takes_udp_5060_and_says_that_it_fell_back():
    location = locate({"A example.com": ["192.0.2.1", "192.0.2.2"]}, "sip:example.com:5099")
    assert [str(target) for target in location.targets] == [
        "UDP 192.0.2.1:5060",
        "UDP 192.0.2.2:5060",
    ]
    assert location.fell_back
    assert location.error is None


def test_a_domain_with_srv_records_did_not_fall_back():
    assert not locate(EVERY_SERVICE).fell_back


@pytest.mark.parametrize(
    ("supported", "target"),
    [
        ({TCP, TLS}, "TCP 192.0.2.1:5060"),
        ({TLS, WSS}, "TLS 192.0.2.1:5061"),
        ({WSS}, "WSS 192.0.2.1:443"),
    ],
)
def test_the_last_resort_is_a_transport_that_is_open(supported, target):
    zone = {"A example.com": ["192.0.2.1"]}
    assert found(zone, supported=frozenset(supported)) == [target]


def test_auto_does_not_fall_back_to_udp_while_nobody_can_say_what_services_there_are():
    zone = {"A example.com": ["192.0.2.1"], "SRV _sips._tcp.example.com": "failure"}
    location = locate(zone)
    assert not location.fell_back
    assert "SRV _sips._tcp.example.com: no answer (as told)" in location.error
    assert all(answer.question.type != "A" for answer in location.asked)


@pytest.mark.parametrize("transport", [UDP, AUTO])
def test_a_service_whose_only_target_is_the_root_is_decidedly_not_there(transport):
    zone = {"SRV _sip._udp.example.com": ["0 0 0 ."], "A example.com": ["192.0.2.1"]}
    location = locate(zone, transport=transport)
    assert location.targets == ()
    assert "0 0 0 ." in location.error
    assert "offers no" in location.error


def test_an_explicit_port_is_ignored_under_auto_and_counts_in_a_uri_that_a_peer_gave():
    zone = EVERY_SERVICE | {"A example.com": ["192.0.2.8"]}
    uri = "sip:example.com:7000"
    assert found(zone, uri, supported=frozenset({UDP})) == ["UDP 192.0.2.1:5060"]
    strict = locate(zone, uri, strict=True)
    assert [str(target) for target in strict.targets] == ["UDP 192.0.2.8:7000"]
    assert asked(strict) == ["A example.com", "AAAA example.com"]
    assert not strict.fell_back


# sips


def test_a_sips_uri_is_never_reached_without_tls():
    zone = EVERY_SERVICE | {"NAPTR example.com": TLS_FIRST, "A example.com": ["192.0.2.9"]}
    assert found(zone, "sips:example.com") == ["TLS 192.0.2.1:5061"]
    location = locate({"A example.com": ["192.0.2.9"]}, "sips:example.com")
    assert [str(target) for target in location.targets] == ["TLS 192.0.2.9:5061"]
    assert location.fell_back
    assert asked(location)[1] == "SRV _sips._tcp.example.com"
    assert "SRV _sip._udp.example.com" not in asked(location)


@pytest.mark.parametrize("transport", [UDP, TCP, TLS])
def test_a_sips_uri_takes_tls_whatever_plain_transport_is_configured(transport):
    assert found({}, "sips:192.0.2.1", transport) == ["TLS 192.0.2.1:5061"]
    assert found({}, "sips:192.0.2.1;transport=tcp", transport) == ["TLS 192.0.2.1:5061"]


def test_a_sips_uri_over_udp_is_refused():
    location = locate({}, "sips:192.0.2.1;transport=udp")
    assert location.error == "sips over transport 'udp' is not known"


def test_a_sips_uri_is_refused_when_no_secure_transport_is_open():
    plain = frozenset({UDP, TCP})
    assert "no transport for sips" in locate({}, "sips:example.com", supported=plain).error
    assert locate({}, "sips:example.com", UDP, supported=plain).error == "TLS is not open"


@given(
    naptr=st.lists(
        st.sampled_from([*TLS_FIRST, '1 1 "s" "SIPS+D2W" "" _sips._ws.example.com']), max_size=4
    ),
    transport=st.sampled_from(list(Transport)),
    parameter=st.sampled_from(["", ";transport=tcp", ";transport=udp", ";transport=ws"]),
    supported=st.sets(st.sampled_from(sorted(ALL))),
    failing=st.sets(st.sampled_from(["NAPTR example.com", *EVERY_SERVICE])),
)
def test_no_answer_of_the_dns_takes_a_sips_uri_to_plain_udp_or_tcp(
    naptr, transport, parameter, supported, failing
):
    zone = EVERY_SERVICE | {"NAPTR example.com": naptr, "A example.com": ["192.0.2.1"]}
    zone |= dict.fromkeys(failing, "failure")
    location = locate(
        zone, f"sips:example.com{parameter}", transport, supported=frozenset(supported)
    )
    assert {target.transport for target in location.targets} <= {TLS, WSS} & supported


# a transport that is given


@pytest.mark.parametrize(
    ("transport", "service", "port"),
    [
        (UDP, "_sip._udp", 5060),
        (TCP, "_sip._tcp", 5060),
        (TLS, "_sips._tcp", 5061),
        (WSS, "_sips._ws", 443),
    ],
)
def test_a_given_transport_asks_its_srv_name_then_takes_the_default_port(transport, service, port):
    location = locate({"A example.com": ["192.0.2.1"]}, transport=transport)
    assert asked(location) == [f"SRV {service}.example.com", "A example.com", "AAAA example.com"]
    [target] = location.targets
    assert (target.transport, target.port) == (transport, port)
    assert not location.fell_back


def test_a_given_transport_does_without_an_answer_about_srv():
    zone = {"SRV _sip._tcp.example.com": "failure", "A example.com": ["192.0.2.1"]}
    assert found(zone, transport=TCP) == ["TCP 192.0.2.1:5060"]


def test_a_given_transport_and_port_ask_for_addresses_alone():
    location = locate(EVERY_SERVICE | {"A example.com": ["192.0.2.1"]}, "sip:example.com:99", TLS)
    assert asked(location) == ["A example.com", "AAAA example.com"]
    assert [str(target) for target in location.targets] == ["TLS 192.0.2.1:99"]


def test_a_transport_that_is_not_open_is_refused_before_anything_is_asked():
    location = locate({}, transport=TLS, supported=frozenset({UDP}))
    assert (location.error, location.asked) == ("TLS is not open", ())


def test_a_transport_parameter_nobody_knows_is_refused():
    assert "'sctp'" in locate({}, "sip:example.com;transport=sctp").error


def test_auto_without_any_open_transport_is_refused():
    assert "no transport for sip" in locate({}, supported=frozenset()).error


# numeric hosts and maddr


@pytest.mark.parametrize(
    ("uri", "transport", "target"),
    [
        ("sip:192.0.2.1", AUTO, "UDP 192.0.2.1:5060"),
        ("sip:192.0.2.1:5070", AUTO, "UDP 192.0.2.1:5070"),
        ("sip:192.0.2.1;transport=tcp", AUTO, "TCP 192.0.2.1:5060"),
        ("sip:192.0.2.1;transport=tls", AUTO, "TLS 192.0.2.1:5061"),
        ("sip:192.0.2.1;transport=wss", AUTO, "WSS 192.0.2.1:443"),
        ("sips:192.0.2.1", AUTO, "TLS 192.0.2.1:5061"),
        ("sip:[2001:DB8:0::1]:5070", TCP, "TCP [2001:db8::1]:5070"),
        ("sip:example.com;maddr=192.0.2.9", UDP, "UDP 192.0.2.9:5060"),
    ],
)
def test_a_numeric_host_is_asked_nowhere(uri, transport, target):
    location = locate({}, uri, transport)
    assert [str(one) for one in location.targets] == [target]
    assert location.asked == ()
    assert not location.fell_back


def test_maddr_is_looked_up_and_the_certificate_still_names_the_host():
    zone = {"A relay.example.net": ["192.0.2.3"]}
    [target] = locate(zone, "sip:example.com:5061;maddr=relay.example.net", TLS).targets
    assert target == Target(TLS, "relay.example.net", "192.0.2.3", 5061, "example.com")


# addresses


def test_every_address_of_a_host_is_a_target_and_families_come_as_asked_for():
    zone = {
        "A example.com": ["192.0.2.9", "192.0.2.1"],
        "AAAA example.com": ["2001:db8::1"],
    }
    v4, v6 = ["TCP 192.0.2.9:5060", "TCP 192.0.2.1:5060"], ["TCP [2001:db8::1]:5060"]
    assert found(zone, transport=TCP) == v4 + v6
    assert found(zone, transport=TCP, families=("AAAA", "A")) == v6 + v4
    assert found(zone, transport=TCP, families=("AAAA",)) == v6


def test_a_target_without_an_address_is_passed_over():
    zone = {
        "SRV _sip._udp.example.com": ["1 1 5060 gone.example.com", "2 1 5060 one.example.com"],
        "A one.example.com": ["192.0.2.1"],
    }
    assert found(zone, transport=UDP) == ["UDP 192.0.2.1:5060"]


def test_srv_records_whose_targets_all_dangle_are_an_error_that_names_them():
    zone = {
        "SRV _sip._udp.example.com": ["1 1 5060 gone.example.com"],
        "A example.com": ["192.0.2.1"],
    }
    location = locate(zone)
    assert location.error == (
        "no address for example.com: A gone.example.com: no such name; "
        "AAAA gone.example.com: no such name"
    )


def test_an_srv_target_that_is_an_address_against_the_rules_is_used_unasked():
    zone = {"SRV _sip._udp.example.com": ["1 1 5080 192.0.2.1."]}
    location = locate(zone, transport=UDP)
    assert [str(target) for target in location.targets] == ["UDP 192.0.2.1:5080"]
    assert asked(location) == ["SRV _sip._udp.example.com"]


def test_an_srv_record_of_port_0_leads_nowhere():
    zone = {"SRV _sip._udp.example.com": ["1 1 0 one.example.com"]} | {
        "A one.example.com": ["192.0.2.1"]
    }
    assert locate(zone, transport=UDP).targets == ()


# bounds


def test_one_address_found_twice_is_one_target():
    records = [f"{number} 1 5060 one.example.com" for number in range(40)]
    zone = {"SRV _sip._udp.example.com": records, "A one.example.com": ["192.0.2.1"]}
    assert found(zone, transport=UDP) == ["UDP 192.0.2.1:5060"]


def test_targets_and_questions_are_bounded():
    records = [f"1 1 5060 host{number}.example.com" for number in range(1000)]
    zone = {"SRV _sip._udp.example.com": records}
    zone |= {f"A host{number}.example.com": [f"192.0.2.{number}"] for number in range(250)}
    zone |= {f"AAAA host{number}.example.com": [f"2001:db8::{number}"] for number in range(1000)}
    location = locate(zone, transport=UDP)
    assert len(location.targets) == 32
    assert len(location.asked) == 1 + 32 + 32
    assert len(locate(zone, transport=UDP, limit=3).targets) == 3


def test_naptr_records_beyond_the_bound_are_left_out():
    records = [f'10 {n} "s" "SIP+D2U" "" _sip._udp.s{n}.example.com' for n in range(100)]
    location = locate({"NAPTR example.com": records}, limit=5)
    assert len(location.asked) == 1 + 5


# RFC 2782: the choice by weight


def chi_square(counted, expected):
    return sum((counted[key] - share) ** 2 / share for key, share in expected.items())


def first_choices(weights, draws=10_000):
    records = [SrvRecord(10, weight, 5060, f"h{at}") for at, weight in enumerate(weights)]
    entropy = seeded(2782)
    return Counter(next(srv_order(records, entropy)).target for _ in range(draws))


@pytest.mark.parametrize("weights", [(90, 10), (1, 1), (5, 15, 80), (65535, 65535, 32768)])
def test_the_first_choice_is_in_proportion_to_the_weights(weights):
    counted = first_choices(weights)
    total = sum(weights)
    expected = {f"h{at}": 10_000 * weight / total for at, weight in enumerate(weights)}
    # The 1 % points of chi-square with 1 and 2 degrees of freedom.
    assert chi_square(counted, expected) < {2: 6.635, 3: 9.210}[len(weights)]


def test_a_record_of_weight_0_is_taken_first_with_the_small_chance_of_the_rfc():
    counted = first_choices((60, 0, 39))
    expected = {"h0": 6000, "h1": 100, "h2": 3900}
    assert chi_square(counted, expected) < 9.210


def test_the_second_choice_is_by_the_weights_that_are_left():
    records = [SrvRecord(1, weight, 5060, str(weight)) for weight in (80, 15, 5)]
    entropy = seeded(3)
    orders = Counter(
        tuple(record.target for record in srv_order(records, entropy)) for _ in range(10_000)
    )
    expected = {
        (str(a), str(b), str(c)): 10_000 * a / 100 * b / (b + c)
        for a, b, c in [
            (80, 15, 5),
            (80, 5, 15),
            (15, 80, 5),
            (15, 5, 80),
            (5, 80, 15),
            (5, 15, 80),
        ]
    }
    assert chi_square(orders, expected) < 15.086  # 5 degrees of freedom, 1 %


def test_records_of_weight_0_alone_keep_their_order():
    records = [SrvRecord(1, 0, port, "h") for port in (3, 1, 2)]
    assert [record.port for record in srv_order(records, seeded())] == [3, 1, 2]


@given(
    st.lists(st.builds(SrvRecord, st.integers(0, 3), st.integers(0, 65535), st.just(1),
                       st.sampled_from("abcdef")), max_size=12),
    st.binary(min_size=8, max_size=8),
)  # fmt: skip
def test_every_record_comes_once_and_priorities_ascend(records, octets):
    ordered = list(srv_order(records, lambda _: octets))
    assert Counter(ordered) == Counter(records)
    assert [record.priority for record in ordered] == sorted(r.priority for r in records)


# what is told


def test_the_location_can_be_printed_as_the_command_line_does():
    told = locate({"A example.com": ["192.0.2.1"]}, supported=frozenset({UDP})).location.to_dict()
    assert told["domain"] == "example.com"
    assert told["fell_back"] is True
    assert told["targets"] == [
        {"transport": "UDP", "host": "example.com", "address": "192.0.2.1", "port": 5060}
    ]
    assert told["asked"][0] == {
        "name": "example.com", "type": "NAPTR", "answers": [], "outcome": "no-data", "detail": "",
    }  # fmt: skip
    assert told["asked"][2]["answers"] == ["192.0.2.1"]


def test_records_are_written_as_in_a_zone_file():
    for kind, text in (
        ("NAPTR", '10 20 "s" "SIP+D2U" "" _sip._udp.example.com'),
        ("SRV", "10 20 5060 one.example.com"),
        ("A", "192.0.2.1"),
    ):
        assert str(record_of(kind, text)) == text
    question = Question("example.com", "SRV")
    answer = Answer(question, (SrvRecord(1, 2, 3, "h"), SrvRecord(4, 5, 6, "i")), detail="kept")
    assert str(answer) == "SRV example.com: 1 2 3 h, 4 5 6 i (kept)"
