from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.sip.message import Request
from callmeter.sip.transaction.key import (
    client_key,
    is_legacy,
    legacy_ack_key,
    merge_key,
    new_branch,
    response_key,
    server_key,
)

VIA = "SIP/2.0/UDP 192.0.2.1:5060;branch="


def test_a_branch_is_the_cookie_and_64_random_bits():
    assert new_branch(lambda octets: bytes(range(octets))) == "z9hG4bK0001020304050607"


def test_a_response_belongs_to_the_client_transaction_with_its_branch_and_method(make_request):
    invite = make_request(via=VIA + "z9hG4bKabc")
    response = invite.create_response(200, to_tag="bob")
    assert response_key(response) == client_key("z9hG4bKabc", "INVITE")
    assert response_key(response) != client_key("z9hG4bKabc", "CANCEL")


def test_a_retransmission_has_the_same_key_whatever_was_noted_in_its_via(make_request):
    first = make_request(via=VIA + "z9hG4bKabc;rport")
    noted = make_request(via=VIA + "z9hG4bKabc;rport=1024;received=198.51.100.1")
    assert server_key(first) == server_key(noted)


@pytest.mark.parametrize(
    "other",
    [
        {"via": VIA + "z9hG4bKxyz"},
        {"via": "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKabc"},
        {"via": "SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKabc"},
        {"via": "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKabc"},
        {"method": "OPTIONS"},
    ],
)
def test_branch_sent_by_and_method_tell_transactions_apart(make_request, other):
    given_ = {"via": VIA + "z9hG4bKabc"}
    assert server_key(make_request(**given_)) != server_key(make_request(**{**given_, **other}))


def test_the_host_of_sent_by_is_compared_without_case(make_request):
    one = make_request(via="SIP/2.0/TCP Host.Example.COM;branch=z9hG4bKabc")
    two = make_request(via="SIP/2.0/TCP host.example.com;branch=z9hG4bKabc")
    assert server_key(one) == server_key(two)


@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
@pytest.mark.parametrize("branch", ["z9hG4bKabc", "1", "z9hG4bK"])
def test_ack_and_cancel_name_their_invite(make_request, method, branch):
    invite = make_request(via=VIA + branch)
    assert server_key(make_request(method, via=VIA + branch), "INVITE") == server_key(invite)


@pytest.mark.parametrize("branch", [";branch=1", ";branch=z9hG4bK", "", ";branch=Z9HG4BKabc"])
def test_a_branch_that_is_not_unique_is_matched_by_the_rules_of_rfc_2543(make_request, branch):
    via = "SIP/2.0/UDP 192.0.2.1:5060" + branch
    variants = [
        {},
        {"uri": "sip:carol@example.com"},
        {"from_tag": "other"},
        {"to_tag": "bob"},
        {"call_id": "call-2"},
        {"number": 2},
        {"method": "OPTIONS"},
        {"via": "SIP/2.0/UDP 192.0.2.9:5060" + branch},
        {"via": "SIP/2.0/TCP 192.0.2.1:5060" + branch},
    ]
    keys = [server_key(make_request(**{"via": via, **variant})) for variant in variants]
    assert all(is_legacy(key) for key in keys)
    for one, two in combinations(keys, 2):
        assert one != two


def test_a_unique_branch_is_not_matched_by_the_rules_of_rfc_2543(invite):
    assert not is_legacy(server_key(invite))


def test_the_tag_that_an_answer_chose_is_no_part_of_the_old_ack_key(make_request):
    invite, ack = make_request(via=VIA + "1"), make_request("ACK", via=VIA + "1", to_tag="bob")
    assert legacy_ack_key(ack) == server_key(invite)[:-1]


parts = st.text(st.sampled_from("ab;:|, "), min_size=1, max_size=4)


@given(parts, parts, parts, parts)
def test_no_choice_of_octets_in_one_header_imitates_another(call_id, tag, call_id_2, tag_2):
    def request(call_id, tag):
        return Request(
            "INVITE",
            "sip:bob@example.com",
            [
                ("Via", "SIP/2.0/UDP 192.0.2.1;branch=1"),
                ("From", f'<sip:alice@example.com>;tag="{tag}"'),
                ("To", "<sip:bob@example.com>"),
                ("Call-ID", "x" + call_id + "x"),
                ("CSeq", "1 INVITE"),
            ],
        )

    same = (call_id, tag) == (call_id_2, tag_2)
    keys = server_key(request(call_id, tag)), server_key(request(call_id_2, tag_2))
    assert (keys[0] == keys[1]) is same


def test_copies_of_a_request_by_two_paths_are_merged(make_request):
    one = make_request(via=VIA + "z9hG4bKa")
    two = make_request(via=VIA + "z9hG4bKb")
    assert merge_key(one) == merge_key(two)
    assert merge_key(one) != merge_key(make_request(number=2))
    assert merge_key(one) != merge_key(make_request(from_tag="other"))
