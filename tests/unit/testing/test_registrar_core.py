"""The embedded registrar and stateless proxy, message by message and without a socket."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from callmeter.sip.digest import answer
from callmeter.sip.headers import parse_challenges
from callmeter.sip.message import Request, Response
from callmeter.sip.parser import parse_message
from callmeter.sip.transaction.effects import Hop
from callmeter.sip.uri import SipUri
from callmeter.testing.registrar_core import MAX_BINDINGS, REMEMBERED, Binding, RegistrarCore

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS = ("192.0.2.10", 5070)
ALICE = Hop("UDP", "192.0.2.1", 5060)
BOB = Hop("UDP", "192.0.2.2", 5062)


class Rig:
    """A registrar core in virtual time, and what its users say to it."""

    def __init__(self, **settings: object) -> None:
        numbers = count(1)
        self.entropy: Callable[[int], bytes] = lambda octets: next(numbers).to_bytes(octets, "big")
        accounts = {"alice": "wonderland", "bob": "builder"}
        self.core = RegistrarCore(accounts, ADDRESS, "test", self.entropy, **settings)
        self.now = 100.0
        self._branches = count(1)
        self._cseqs = count(1)

    def request(
        self,
        method: str,
        uri: str,
        *headers: tuple[str, str],
        to: str = "<sip:bob@192.0.2.10:5070>",
        user: str = "alice",
        via: str | None = None,
        cseq: int | None = None,
        call_id: str = "call-1",
    ) -> Request:
        via = via or f"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{next(self._branches)};rport"
        lines = [
            ("Via", via),
            ("Max-Forwards", "70"),
            ("From", f"<sip:{user}@192.0.2.10:5070>;tag=f"),
            ("To", to),
            ("Call-ID", call_id),
            ("CSeq", f"{next(self._cseqs) if cseq is None else cseq} {method}"),
        ]
        given = {name for name, _ in headers}
        lines = [line for line in lines if line[0] not in given]
        return Request(method, uri, [*lines, *headers])

    def send(self, request: Request, source: Hop = ALICE) -> list[tuple[Request | Response, Hop]]:
        # What a socket would bring: another object at each sending.
        return self.core.on_message(parse_message(request.to_bytes()), source, self.now)

    def answer(self, request: Request, source: Hop = ALICE) -> Response:
        ((response, hop),) = self.send(request, source)
        assert isinstance(response, Response)
        assert hop == source
        return response

    def forwarded(self, request: Request, source: Hop = ALICE) -> tuple[Request, Hop]:
        ((sent, hop),) = self.send(request, source)
        assert isinstance(sent, Request)
        return sent, hop

    def register_request(
        self, *headers: tuple[str, str], user: str = "alice", call_id: str = "reg-1", **how: object
    ) -> Request:
        aor = f"<sip:{user}@192.0.2.10:5070>"
        return self.request(
            "REGISTER",
            "sip:192.0.2.10:5070",
            *headers,
            to=aor,
            user=user,
            call_id=call_id,
            **how,
        )

    def authorized(
        self,
        request: Request,
        response: Response,
        *,
        user: str = "alice",
        password: str = "wonderland",
        nonce_count: int = 1,
    ) -> Request:
        proxy = response.status == 407
        again = request.copy()
        again.headers.set("Via", f"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa{next(self._cseqs)}")
        credentials = answer(
            response.headers.get_all("Proxy-Authenticate" if proxy else "WWW-Authenticate"),
            method=request.method,
            uri=str(request.uri),
            username=user,
            password=password,
            entropy=self.entropy,
            nonce_count=nonce_count,
        )
        assert credentials is not None
        again.headers.set("Proxy-Authorization" if proxy else "Authorization", credentials)
        return again

    def register(
        self,
        *headers: tuple[str, str],
        user: str = "alice",
        source: Hop = ALICE,
        **how: object,
    ) -> Response:
        """The answer to a REGISTER whose challenge was answered."""
        password = {"alice": "wonderland", "bob": "builder"}[user]
        request = self.register_request(*headers, user=user, **how)
        challenge = self.answer(request, source)
        assert challenge.status == 401
        request = self.authorized(request, challenge, user=user, password=password)
        ((response, _),) = self.send(request, source)
        return response

    def bound(self, user: str) -> list[str]:
        return [str(item.contact) for item in self.core.bound(user, self.now)]


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def with_bob(rig: Rig) -> Rig:
    """Bob is registered from another address than his Contact says, as behind NAT."""
    rig.register(("Contact", "<sip:bob@10.0.0.2:5060>"), user="bob", source=BOB)
    return rig


def as_answered(request: Request, status: int = 200) -> Response:
    return request.create_response(status, to_tag="bobs")


# digest


def test_a_registration_is_challenged_with_the_strongest_algorithm_first(rig):
    response = rig.answer(rig.register_request(("Contact", "<sip:alice@192.0.2.1>")))
    assert response.status == 401
    challenges = parse_challenges(response.headers.get_all("WWW-Authenticate"))
    assert [item.get("algorithm") for item in challenges] == ["SHA-256", "MD5"]
    assert {item.get("realm") for item in challenges} == {"test"}
    assert response.to.tag
    assert rig.bound("alice") == []


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_the_right_password_binds(algorithm):
    rig = Rig(algorithms=(algorithm,))
    response = rig.register(("Contact", "<sip:alice@192.0.2.1:5060>"), ("Expires", "60"))
    assert response.status == 200
    assert response.headers.get("Contact") == "<sip:alice@192.0.2.1:5060>;expires=60"
    assert rig.bound("alice") == ["sip:alice@192.0.2.1:5060"]


def test_a_wrong_password_is_challenged_again_without_stale(rig):
    request = rig.register_request(("Contact", "<sip:alice@192.0.2.1>"))
    wrong = rig.authorized(request, rig.answer(request), password="looking-glass")
    response = rig.answer(wrong)
    assert response.status == 401
    assert "stale" not in response.headers.get("WWW-Authenticate")
    assert rig.bound("alice") == []


def test_an_old_nonce_is_stale(rig):
    request = rig.register_request(("Contact", "<sip:alice@192.0.2.1>"))
    challenge = rig.answer(request)
    rig.now += 3600
    response = rig.answer(rig.authorized(request, challenge))
    assert response.status == 401
    assert "stale=true" in response.headers.get("WWW-Authenticate")
    assert rig.answer(rig.authorized(request, response)).status == 200


def test_a_retransmitted_registration_gets_the_same_answer_though_its_nonce_is_spent(rig):
    request = rig.register_request(("Contact", "<sip:alice@192.0.2.1>"))
    request = rig.authorized(request, rig.answer(request))
    first, again = rig.answer(request), rig.answer(request)
    assert first.status == 200
    assert again.to_bytes() == first.to_bytes()


def test_the_memory_of_retransmissions_is_bounded(rig):
    for number in range(REMEMBERED + 10):
        rig.send(rig.register_request(call_id=f"flood-{number}"))
    assert len(rig.core._answered) == REMEMBERED


def test_nobody_registers_for_somebody_else(rig):
    request = rig.register_request(("Contact", "<sip:mallory@192.0.2.66>"), user="bob")
    response = rig.answer(rig.authorized(request, rig.answer(request), user="alice"))
    assert response.status == 403
    assert rig.bound("bob") == []


def test_an_address_of_record_that_is_no_sip_uri_is_foreign(rig):
    request = rig.request("REGISTER", "sip:192.0.2.10:5070", to="<tel:+15551234>")
    response = rig.answer(rig.authorized(request, rig.answer(request)))
    assert response.status == 403


def test_the_passwords_are_in_no_repr(rig):
    assert "wonderland" not in repr(rig.core)


# bindings


def test_a_registration_too_short_is_refused_with_the_least(rig):
    response = rig.register(("Contact", "<sip:alice@192.0.2.1>;expires=5"))
    assert response.status == 423
    assert response.headers.get("Min-Expires") == "10"
    assert rig.bound("alice") == []


@pytest.mark.parametrize(
    ("headers", "granted"),
    [
        ([("Contact", "<sip:alice@192.0.2.1>;expires=90"), ("Expires", "60")], 90),
        ([("Contact", "<sip:alice@192.0.2.1>"), ("Expires", "60")], 60),
        ([("Contact", "<sip:alice@192.0.2.1>")], 3600),
        ([("Contact", "<sip:alice@192.0.2.1>;expires=soon")], 3600),
    ],
)
def test_the_contact_parameter_goes_before_the_header_and_both_before_an_hour(
    rig, headers, granted
):
    response = rig.register(*headers)
    assert response.contacts[0].param("expires") == str(granted)


def test_a_refresh_prolongs_the_one_binding(rig):
    rig.register(("Contact", "<sip:alice@192.0.2.1>"), ("Expires", "60"))
    rig.now += 50
    rig.register(("Contact", "<sip:alice@192.0.2.1>"), ("Expires", "60"))
    rig.now += 50
    assert rig.bound("alice") == ["sip:alice@192.0.2.1"]


def test_a_binding_ends_by_itself(rig):
    rig.register(("Contact", "<sip:alice@192.0.2.1>"), ("Expires", "60"))
    rig.now += 60
    assert rig.bound("alice") == []
    assert rig.core.bindings == {}


def test_expires_0_removes_one_binding_and_leaves_the_others(rig):
    rig.register(("Contact", "<sip:alice@192.0.2.1>, <sip:alice@192.0.2.3>"))
    response = rig.register(("Contact", "<sip:alice@192.0.2.1>;expires=0"))
    assert [str(item.uri) for item in response.contacts] == ["sip:alice@192.0.2.3"]
    rig.register(("Contact", "<sip:alice@192.0.2.3>"), ("Expires", "0"))
    assert rig.core.bindings == {}


def test_removing_what_was_never_bound_leaves_nothing(rig):
    assert rig.register(("Contact", "<sip:alice@192.0.2.1>;expires=0")).status == 200
    assert rig.core.bindings == {}


def test_the_wildcard_with_expires_0_removes_all(rig):
    rig.register(("Contact", "<sip:alice@192.0.2.1>, <sip:alice@192.0.2.3>"))
    assert rig.register(("Contact", "*"), ("Expires", "0")).status == 200
    assert rig.core.bindings == {}


@pytest.mark.parametrize("headers", [[], [("Expires", "60")]])
def test_the_wildcard_without_expires_0_removes_nothing(rig, headers):
    rig.register(("Contact", "<sip:alice@192.0.2.1>"))
    assert rig.register(("Contact", "*"), *headers).status == 400
    assert rig.bound("alice") == ["sip:alice@192.0.2.1"]


def test_a_registration_without_contact_only_asks(rig):
    rig.register(("Contact", "<sip:alice@192.0.2.1>"), ("Expires", "60"))
    rig.now += 20
    response = rig.register()
    assert response.headers.get_all("Contact") == ["<sip:alice@192.0.2.1>;expires=40"]


def test_an_overtaken_registration_changes_nothing(rig):
    rig.register(("Contact", "<sip:alice@192.0.2.1>"), ("Expires", "60"), cseq=9)
    response = rig.register(("Contact", "<sip:alice@192.0.2.1>;expires=0"), cseq=8)
    assert response.status == 200
    assert rig.bound("alice") == ["sip:alice@192.0.2.1"]
    rig.register(("Contact", "<sip:alice@192.0.2.1>;expires=0"), cseq=7, call_id="another")
    assert rig.bound("alice") == []


def test_an_account_keeps_its_newest_bindings_only(rig):
    for number in range(MAX_BINDINGS + 3):
        rig.register(("Contact", f"<sip:alice@192.0.2.{number + 20}>"))
    assert rig.bound("alice")[0] == "sip:alice@192.0.2.23"
    assert len(rig.bound("alice")) == MAX_BINDINGS


def test_a_contact_that_cannot_be_called_is_not_bound(rig):
    response = rig.register(("Contact", "<tel:+15551234>, <sip:alice@192.0.2.1>"))
    assert [str(item.uri) for item in response.contacts] == ["sip:alice@192.0.2.1"]


# the proxy


def test_a_call_goes_to_where_the_account_registered_from(with_bob):
    sent, hop = with_bob.forwarded(with_bob.request("INVITE", "sip:bob@192.0.2.10:5070"))
    assert hop == BOB
    assert str(sent.uri) == "sip:bob@10.0.0.2:5060"
    assert sent.max_forwards == 69
    own, theirs = sent.vias
    assert (own.host, own.port, own.transport) == (*ADDRESS, "UDP")
    assert own.branch.startswith("z9hG4bK")
    assert (theirs.received, theirs.rport) == ("192.0.2.1", 5060)
    assert sent.headers.get_all("Record-Route") == ["<sip:192.0.2.10:5070;lr>"]


def test_the_newest_binding_is_called(with_bob):
    newer = Hop("UDP", "192.0.2.3", 5060)
    with_bob.register(("Contact", "<sip:bob@192.0.2.3>"), user="bob", source=newer)
    _, hop = with_bob.forwarded(with_bob.request("INVITE", "sip:bob@192.0.2.10:5070"))
    assert hop == newer


def test_retransmissions_cancel_and_ack_of_a_refusal_have_the_branch_of_the_invite(with_bob):
    via = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKsame;rport"
    target = "sip:bob@192.0.2.10:5070"
    branches = set()
    for method, to in (
        ("INVITE", "<sip:bob@192.0.2.10:5070>"),
        ("INVITE", "<sip:bob@192.0.2.10:5070>"),
        ("CANCEL", "<sip:bob@192.0.2.10:5070>"),
        ("ACK", "<sip:bob@192.0.2.10:5070>;tag=bobs"),
    ):
        sent, hop = with_bob.forwarded(with_bob.request(method, target, via=via, to=to, cseq=7))
        assert hop == BOB
        branches.add(sent.via.branch)
    assert len(branches) == 1
    other = with_bob.request("INVITE", target, via=via, cseq=8)
    assert with_bob.forwarded(other)[0].via.branch not in branches


def test_a_request_in_a_dialog_follows_the_route_and_loses_ours(with_bob):
    request = with_bob.request(
        "BYE",
        "sip:bob@10.0.0.2:5060",
        ("Route", "<sip:192.0.2.10:5070;lr>, <sip:192.0.2.99;lr>"),
        to="<sip:bob@192.0.2.10:5070>;tag=bobs",
    )
    sent, hop = with_bob.forwarded(request)
    assert hop == Hop("UDP", "192.0.2.99", 5060)
    assert sent.headers.get_all("Route") == ["<sip:192.0.2.99;lr>"]
    assert str(sent.uri) == "sip:bob@10.0.0.2:5060"
    assert "Record-Route" not in sent.headers


def test_the_last_route_gone_the_request_goes_to_its_uri(with_bob):
    request = with_bob.request(
        "BYE",
        "sip:bob@10.0.0.2:5060",
        ("Route", "<sip:192.0.2.10:5070;lr>"),
        to="<sip:bob@192.0.2.10:5070>;tag=bobs",
    )
    sent, hop = with_bob.forwarded(request)
    assert hop == Hop("UDP", "10.0.0.2", 5060)
    assert "Route" not in sent.headers


@pytest.mark.parametrize(
    ("uri", "headers"),
    [
        ("sip:victim@198.51.100.7", []),
        ("sip:bob@192.0.2.10:5071", []),
        ("sip:bob@192.0.2.10:5070", [("Route", "<sip:198.51.100.7;lr>")]),
        (
            "sip:bob@192.0.2.10:5070",
            [("Route", "<sip:192.0.2.10:5070;lr>, <sip:198.51.100.7;lr>")],
        ),
    ],
)
def test_it_is_no_open_relay(with_bob, uri, headers):
    assert with_bob.answer(with_bob.request("INVITE", uri, *headers)).status == 404
    assert with_bob.answer(with_bob.request("CANCEL", uri, *headers)).status == 481
    assert with_bob.send(with_bob.request("ACK", uri, *headers)) == []


def test_the_contact_of_an_account_leads_to_it_as_an_attended_transfer_wants(with_bob):
    contact = str(with_bob.core.bound("bob", with_bob.now)[-1].contact)
    invite = with_bob.request("INVITE", contact, ("Replaces", "call-2;to-tag=t;from-tag=f"))
    sent, hop = with_bob.forwarded(invite)
    assert hop == BOB
    assert str(sent.uri) == contact
    sent, hop = with_bob.forwarded(with_bob.request("CANCEL", contact))
    assert hop == BOB
    elsewhere = [("Route", "<sip:198.51.100.7;lr>")]
    assert with_bob.answer(with_bob.request("INVITE", contact, *elsewhere)).status == 404


def test_the_contact_of_an_account_is_asked_for_credentials_like_its_name():
    rig = Rig(authenticate_calls=True)
    rig.core.bindings["bob"] = [Binding(SipUri("sip", "10.0.0.2", 5062, "bob"), BOB, 200.0, "r", 1)]
    assert rig.answer(rig.request("INVITE", "sip:bob@10.0.0.2:5062")).status == 407
    rig.now = 201.0
    assert rig.answer(rig.request("INVITE", "sip:bob@10.0.0.2:5062")).status == 404


@pytest.mark.parametrize(
    "target", ["sip:bob@phone.example", "sip:bob@192.0.2.2;transport=tcp"], ids=["name", "tcp"]
)
def test_what_cannot_be_sent_by_udp_to_an_address_is_a_bad_gateway(with_bob, target):
    request = with_bob.request("BYE", target, to="<sip:bob@192.0.2.10:5070>;tag=bobs")
    assert with_bob.answer(request).status == 502


def test_a_uri_of_another_scheme_is_refused(rig):
    assert rig.answer(rig.request("OPTIONS", "tel:+15551234")).status == 416


@pytest.mark.parametrize(
    ("uri", "status"),
    [("sip:alice@192.0.2.10:5070", 480), ("sip:nobody@TEST", 404), ("sip:TEST", 404)],
)
def test_an_account_without_binding_is_unavailable_and_another_name_unknown(rig, uri, status):
    assert rig.answer(rig.request("INVITE", uri)).status == status


def test_it_answers_options_to_itself(rig):
    assert rig.answer(rig.request("OPTIONS", "sip:192.0.2.10:5070")).status == 200


def test_the_default_port_need_not_be_named():
    rig = Rig()
    rig.core.address = ("192.0.2.10", 5060)
    assert rig.answer(rig.request("OPTIONS", "sip:192.0.2.10")).status == 200


def test_max_forwards_stops_a_loop_and_not_a_registration(with_bob):
    request = with_bob.request("INVITE", "sip:bob@192.0.2.10:5070", ("Max-Forwards", "0"))
    assert with_bob.answer(request).status == 483
    request = with_bob.register_request(("Max-Forwards", "0"))
    assert with_bob.answer(request).status == 401


def test_a_request_without_max_forwards_gets_one(with_bob):
    request = with_bob.request("INVITE", "sip:bob@192.0.2.10:5070")
    request.headers.remove("Max-Forwards")
    assert with_bob.forwarded(request)[0].max_forwards == 69


def test_an_extension_the_proxy_does_not_know_is_refused_but_never_an_ack(with_bob):
    wish = ("Proxy-Require", "sec-agree")
    response = with_bob.answer(with_bob.request("INVITE", "sip:bob@192.0.2.10:5070", wish))
    assert response.status == 420
    assert response.headers.get("Unsupported") == "sec-agree"
    ack = with_bob.request(
        "ACK", "sip:bob@192.0.2.10:5070", wish, to="<sip:bob@192.0.2.10:5070>;tag=bobs"
    )
    assert with_bob.forwarded(ack)[1] == BOB


def test_the_ack_of_a_refusal_of_ours_ends_here(rig):
    refusal = rig.answer(rig.request("INVITE", "sip:alice@192.0.2.10:5070"))
    ack = rig.request("ACK", "sip:alice@192.0.2.10:5070", to=str(refusal.to))
    assert rig.send(ack) == []


# responses


def test_a_response_goes_where_its_request_came_from(with_bob):
    behind_nat = Hop("UDP", "203.0.113.5", 61234)
    request = with_bob.request("INVITE", "sip:bob@192.0.2.10:5070")
    sent, _ = with_bob.forwarded(request, behind_nat)
    ((response, hop),) = with_bob.core.on_message(as_answered(sent), BOB, with_bob.now)
    assert hop == behind_nat
    assert len(response.vias) == 1
    assert response.via.branch == request.via.branch


def test_without_rport_answers_go_to_the_port_of_the_via(with_bob):
    source = Hop("UDP", "203.0.113.5", 61234)
    via = "SIP/2.0/UDP phone.example:5080;branch=z9hG4bKold"
    request = with_bob.request("INVITE", "sip:bob@192.0.2.10:5070", via=via)
    sent, _ = with_bob.forwarded(request, source)
    assert sent.vias[1].rport is None
    ((_, hop),) = with_bob.core.on_message(as_answered(sent), BOB, with_bob.now)
    assert hop == Hop("UDP", "203.0.113.5", 5080)
    refused = with_bob.request("INVITE", "sip:nobody@192.0.2.10:5070", via=via)
    ((_, hop),) = with_bob.send(refused, source)
    assert hop == Hop("UDP", "203.0.113.5", 5080)


@pytest.mark.parametrize(
    "vias",
    [
        "SIP/2.0/UDP 192.0.2.10:5070;branch=z9hG4bK1",
        "SIP/2.0/UDP 192.0.2.66:5070;branch=z9hG4bK1, SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK2",
        "SIP/2.0/UDP 192.0.2.10:5070;branch=z9hG4bK1, SIP/2.0/UDP slow.example;branch=z9hG4bK2",
    ],
    ids=["our own", "not through us", "to a name"],
)
def test_a_response_to_nothing_of_ours_goes_nowhere(rig, vias):
    stray = as_answered(rig.request("INVITE", "sip:bob@192.0.2.10:5070", via=vias))
    assert rig.core.on_message(stray, BOB, rig.now) == []


# credentials for calls


def test_calls_are_challenged_when_asked_for_and_the_credentials_stay_here():
    rig = Rig(authenticate_calls=True)
    rig.register(("Contact", "<sip:bob@10.0.0.2:5060>"), user="bob", source=BOB)
    invite = rig.request("INVITE", "sip:bob@192.0.2.10:5070")
    challenge = rig.answer(invite)
    assert challenge.status == 407
    with_credentials = rig.authorized(invite, challenge)
    sent, hop = rig.forwarded(with_credentials)
    assert hop == BOB
    assert "Proxy-Authorization" not in sent.headers
    again, _ = rig.forwarded(with_credentials)
    assert again.to_bytes() == sent.to_bytes()
    wrong = rig.authorized(invite, challenge, password="x", nonce_count=2)
    assert rig.answer(wrong).status == 407


@pytest.mark.parametrize(("method", "tag"), [("OPTIONS", ""), ("INVITE", ";tag=bobs")])
def test_only_the_first_invite_of_a_call_is_challenged(method, tag):
    rig = Rig(authenticate_calls=True)
    rig.register(("Contact", "<sip:bob@10.0.0.2:5060>"), user="bob", source=BOB)
    to = f"<sip:bob@192.0.2.10:5070>{tag}"
    assert rig.forwarded(rig.request(method, "sip:bob@192.0.2.10:5070", to=to))[1] == BOB


# transports

LISTENING = {
    "UDP": ADDRESS,
    "TLS": ("192.0.2.10", 5071),
    "WSS": ("192.0.2.10", 5443),
}
ALICE_TLS = Hop("TLS", "192.0.2.1", 41_000, connection=7)
ALICE_TLS_VIA = "SIP/2.0/TLS 192.0.2.1:41000;branch=z9hG4bKtls"
BOB_WSS = Hop("WSS", "192.0.2.2", 42_000, connection=9)
BOB_CONTACT = "sip:bob@df7jal23ls0d.invalid;transport=ws"


@pytest.fixture
def bob_by_wss():
    rig = Rig(listening=LISTENING)
    rig.register(("Contact", f"<{BOB_CONTACT}>"), user="bob", source=BOB_WSS)
    return rig


def test_where_the_transport_changes_both_sides_are_in_the_route(bob_by_wss):
    invite = bob_by_wss.request("INVITE", "sip:bob@192.0.2.10:5070", via=ALICE_TLS_VIA)
    sent, hop = bob_by_wss.forwarded(invite, ALICE_TLS)
    assert hop == BOB_WSS
    assert (sent.via.transport, sent.via.host, sent.via.port) == ("WSS", "192.0.2.10", 5443)
    assert sent.headers.get_all("Record-Route") == [
        "<sip:192.0.2.10:5443;transport=ws;lr>",
        "<sip:192.0.2.10:5071;transport=tls;lr>",
    ]


def test_the_response_finds_the_connection_of_its_request(bob_by_wss):
    invite = bob_by_wss.request("INVITE", "sip:bob@192.0.2.10:5070", via=ALICE_TLS_VIA)
    sent, _ = bob_by_wss.forwarded(invite, ALICE_TLS)
    ((response, hop),) = bob_by_wss.core.on_message(as_answered(sent), BOB_WSS, bob_by_wss.now)
    assert hop == ALICE_TLS
    assert len(response.vias) == 1


def test_a_request_in_the_dialog_takes_the_connection_behind_the_contact(bob_by_wss):
    routes = "<sip:192.0.2.10:5071;transport=tls;lr>, <sip:192.0.2.10:5443;transport=ws;lr>"
    bye = bob_by_wss.request(
        "BYE",
        BOB_CONTACT,
        ("Route", routes),
        to="<sip:bob@192.0.2.10:5070>;tag=bobs",
        via=ALICE_TLS_VIA,
    )
    sent, hop = bob_by_wss.forwarded(bye, ALICE_TLS)
    assert hop == BOB_WSS
    assert "Route" not in sent.headers


@pytest.mark.parametrize(
    ("contact", "hop"),
    [
        ("sip:carol@192.0.2.3;transport=tls", Hop("TLS", "192.0.2.3", 5061)),
        ("sip:carol@192.0.2.3:5072;transport=tls", Hop("TLS", "192.0.2.3", 5072)),
        ("sip:carol@192.0.2.3", Hop("UDP", "192.0.2.3", 5060)),
    ],
)
def test_a_contact_that_is_not_bound_is_called_where_it_says(bob_by_wss, contact, hop):
    bye = bob_by_wss.request("BYE", contact, to="<sip:carol@192.0.2.10:5070>;tag=carols")
    assert bob_by_wss.forwarded(bye)[1] == hop


def test_a_uri_of_another_scheme_in_a_dialog_is_a_bad_gateway(bob_by_wss):
    bye = bob_by_wss.request(
        "BYE",
        "sip:bob@192.0.2.2",
        ("Route", "<tel:+15551234>"),
        to="<sip:bob@192.0.2.10:5070>;tag=bobs",
    )
    assert bob_by_wss.answer(bye).status == 502
