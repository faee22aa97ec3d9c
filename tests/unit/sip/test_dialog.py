"""Dialogs: RFC 3261 section 12."""

from __future__ import annotations

import pytest

from callmeter.sip.dialog import Dialog, DialogState, routed_request, tagged
from callmeter.sip.headers import NameAddr
from callmeter.sip.message import Headers, Request, Response
from callmeter.sip.uri import OtherUri, SipUri

ALICE = NameAddr(SipUri("sip", "example.com", user="alice"), "Alice", (("tag", "as"),))
BOB = NameAddr(SipUri("sip", "example.net", user="bob"), None, (("tag", "bs"),))
BOBS_PHONE = SipUri("sip", "192.0.2.2", 5060, "bob")


def invite(uri: str = "sip:bob@example.net", **headers: str) -> Request:
    lines = {
        "Via": "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1",
        "From": "Alice <sip:alice@example.com>;tag=as",
        "To": "<sip:bob@example.net>",
        "Call-ID": "c",
        "CSeq": "7 INVITE",
        "Contact": "<sip:alice@192.0.2.1>",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return Request("INVITE", uri, lines.items())


def answer(status: int, *lines: tuple[str, str]) -> Response:
    response = invite().create_response(status, to_tag="bs")
    response.headers.extend(lines)
    return response


def dialog(**changes: object) -> Dialog:
    values = {"call_id": "c", "local": ALICE, "remote": BOB, "remote_target": BOBS_PHONE}
    return Dialog(**{**values, **changes})


def test_a_provisional_response_makes_an_early_dialog_and_a_2xx_a_confirmed_one():
    assert Dialog.from_response(invite(), answer(180)).state is DialogState.EARLY
    made = Dialog.from_response(invite(), answer(200))
    assert made.confirmed
    assert (made.call_id, made.local_tag, made.remote_tag) == ("c", "as", "bs")
    assert (made.local_cseq, made.remote_cseq) == (7, None)


def test_the_caller_reverses_the_record_route_and_the_callee_keeps_its_order():
    line = ("Record-Route", "<sip:p2.example;lr>, <sip:p1.example;lr>")
    caller = Dialog.from_response(invite(), answer(200, line))
    callee = Dialog.from_request(invite(Record_Route=line[1]), "bs")
    assert [str(route.uri) for route in caller.route_set] == [
        "sip:p1.example;lr",
        "sip:p2.example;lr",
    ]
    assert [str(route.uri) for route in callee.route_set] == [
        "sip:p2.example;lr",
        "sip:p1.example;lr",
    ]


def test_the_2xx_decides_about_the_route_set_that_a_provisional_response_proposed():
    made = Dialog.from_response(
        invite(), answer(180, ("Record-Route", "<sip:p1.example;lr>"), ("Contact", "<sip:b@a>"))
    )
    made.confirm(answer(200, ("Contact", "<sip:b@c>")))
    assert made.confirmed
    assert made.route_set == ()
    assert str(made.remote_target) == "sip:b@c"


def test_the_callee_sees_the_other_end_of_the_same_dialog():
    made = Dialog.from_request(invite(), "bs")
    assert (made.local_tag, made.remote_tag) == ("bs", "as")
    assert (made.local_cseq, made.remote_cseq) == (0, 7)
    assert str(made.remote_target) == "sip:alice@192.0.2.1"
    assert made.state is DialogState.EARLY


def test_a_peer_of_rfc_2543_has_no_tag_and_maybe_no_contact():
    request = invite(From="sip:alice@example.com")
    request.headers.remove("Contact")
    made = Dialog.from_request(request, "bs")
    assert made.remote_tag == ""
    assert str(made.remote_target) == "sip:alice@example.com"
    made.local = NameAddr(made.local.uri)
    assert made.local_tag == ""


@pytest.mark.parametrize("contact", ["*", "<tel:+15550100>"])
def test_a_contact_that_no_request_can_go_to_changes_no_target(contact):
    made = dialog()
    message = answer(200, ("Contact", contact))
    made.refresh_target(message)
    assert made.remote_target == BOBS_PHONE


@pytest.mark.parametrize(("uri", "secure"), [("sips:bob@x", True), ("sip:bob@x", False)])
def test_a_sips_request_uri_makes_the_dialog_secure(uri, secure):
    assert Dialog.from_response(invite(uri), answer(200)).secure is secure
    assert Dialog.from_request(invite(uri), "bs").secure is secure


def test_a_request_counts_up_and_carries_both_tags():
    made = dialog(local_cseq=7)
    bye = made.create_request("BYE")
    assert (bye.cseq.number, bye.cseq.method) == (8, "BYE")
    assert (bye.from_.tag, bye.to.tag, bye.call_id) == ("as", "bs", "c")
    assert str(bye.uri) == "sip:bob@192.0.2.2:5060"
    assert bye.max_forwards == 70
    assert "Route" not in bye.headers


def test_the_ack_bears_the_number_of_its_invite():
    made = dialog(local_cseq=9)
    assert made.create_ack(7).cseq.number == 7
    assert made.local_cseq == 9


def test_a_loose_route_set_leaves_the_target_in_the_request_uri():
    routes = [NameAddr(SipUri("sip", "p1", params=(("lr", None),))), NameAddr(SipUri("sip", "p2"))]
    request = routed_request("BYE", BOBS_PHONE, routes, Headers())
    assert request.uri == BOBS_PHONE
    assert request.next_hop is None
    assert request.headers.get_all("Route") == ["<sip:p1;lr>", "<sip:p2>"]


def test_a_strict_router_gets_the_request_uri_and_the_target_goes_last():
    first = SipUri("sip", "p1", params=(("method", "INVITE"),), headers=(("Subject", "x"),))
    routes = [NameAddr(first), NameAddr(SipUri("sip", "p2", params=(("lr", None),)))]
    request = routed_request("BYE", BOBS_PHONE, routes, Headers())
    assert str(request.uri) == "sip:p1"
    assert request.headers.get_all("Route") == ["<sip:p2;lr>", "<sip:bob@192.0.2.2:5060>"]


def test_a_strict_router_is_the_next_hop_though_a_loose_one_tops_the_route():
    routes = [NameAddr(SipUri("sip", "p1")), NameAddr(SipUri("sip", "p2", params=(("lr", None),)))]
    request = routed_request("BYE", BOBS_PHONE, routes, Headers())
    assert str(request.next_hop) == "sip:p1"
    assert str(request.copy().next_hop) == "sip:p1"


def test_a_route_that_is_no_sip_uri_is_left_to_the_next_hop():
    routes = [NameAddr(OtherUri("x", "y"))]
    assert routed_request("BYE", BOBS_PHONE, routes, Headers()).uri == BOBS_PHONE


def test_a_request_with_a_lower_number_than_one_before_is_out_of_order():
    made = dialog()
    numbers = (5, 5, 9, 7)
    seen = [
        made.in_order(Request("INFO", "sip:a@b", [("CSeq", f"{number} INFO")]))
        for number in numbers
    ]
    assert seen == [True, True, True, False]
    assert made.remote_cseq == 9


def test_a_tag_replaces_every_other_parameter_of_an_address():
    address = NameAddr(ALICE.uri, "Alice", (("x", "y"), ("tag", "old")))
    assert str(tagged(address, "new")) == '"Alice" <sip:alice@example.com>;tag=new'
