"""RFC 4475: what a user agent does with each torture message, from octets to answer."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random

import pytest

from callmeter.config import TimerConfig
from callmeter.errors import SipSyntaxError
from callmeter.sip.headers import NameAddr
from callmeter.sip.identity import Identity
from callmeter.sip.message import Request, Response
from callmeter.sip.parser import parse_message
from callmeter.sip.session_events import IncomingInvite, Respond
from callmeter.sip.transaction.effects import Deliver, Hop, Send
from callmeter.sip.transaction.layer import TransactionLayer
from callmeter.sip.uri import SipUri
from callmeter.sip.user_agent import UserAgentCore

VECTORS = Path(__file__).parents[1] / "vectors"
MESSAGES = json.loads((VECTORS / "rfc4475" / "manifest.json").read_text())["messages"]
SOURCE = Hop("UDP", "192.0.2.99", 5060)
ANSWER = b"v=0\r\n"


class Endpoint:
    """A user agent that accepts each call, with what it answers to one message."""

    def __init__(self) -> None:
        random = Random(4475)
        identity = Identity(
            aor=NameAddr(SipUri("sip", "example.com", user="user")),
            contact=SipUri("sip", "192.0.2.1", 5060, "user"),
        )
        self.core = UserAgentCore(identity, TimerConfig(), random.randbytes)
        self.layer = TransactionLayer(TimerConfig(), random.randbytes)
        self.responses: list[Response] = []
        self.error: SipSyntaxError | None = None

    def receive(self, data: bytes) -> None:
        try:
            message = parse_message(data)
        except SipSyntaxError as error:
            self.error = error
            if isinstance(error.partial, Request):
                self.responses.append(error.partial.create_response(error.status, to_tag="t"))
            return
        for effect in self.layer.on_message(message, SOURCE, 0.0):
            if isinstance(effect, Deliver):
                self._deliver(effect)

    def _deliver(self, delivered: Deliver) -> None:
        request = delivered.message
        assert isinstance(request, Request)
        merged = self.layer.is_merged(request, delivered.key)
        effects = self.core.on_request(delivered.key, request, 0.0, merged=merged)
        for effect in effects:
            if isinstance(effect, IncomingInvite):
                effects += effect.session.accept(ANSWER, 0.0)
            if isinstance(effect, Respond):
                sent = self.layer.respond(effect.key, effect.response, 0.0)
                self.responses += [order.message for order in sent if isinstance(order, Send)]


@cache
def outcome(name: str) -> Endpoint:
    endpoint = Endpoint()
    endpoint.receive((VECTORS / "rfc4475" / name).read_bytes())
    return endpoint


@pytest.mark.parametrize("case", MESSAGES, ids=[case["name"] for case in MESSAGES])
def test_each_torture_message_has_the_outcome_the_manifest_wants(case):
    endpoint = outcome(Path(case["file"]).name)
    statuses = [response.status for response in endpoint.responses]
    wanted = case["callmeter_default"]
    if wanted == "drop-no-transaction":
        assert endpoint.error is None
        assert statuses == []
        assert endpoint.layer.counters.stray_responses == 1
    elif wanted == "drop":
        assert statuses == []
        assert len(endpoint.layer) == 0
        assert endpoint.error is not None or endpoint.layer.counters.stray_responses == 1
    elif wanted == "process":
        (status,) = statuses
        assert status >= 200
        assert status not in {400, 420, 505}
    else:
        assert statuses == [wanted]


def test_there_are_49_messages():
    assert len(MESSAGES) == 49


@pytest.mark.parametrize("name", ["esc01", "longreq", "baddate", "inv2543"])
def test_a_tortuous_call_is_answered(name):
    (response,) = outcome(f"{name}.dat").responses
    assert response.status == 200
    assert response.body == ANSWER


def test_the_answer_to_a_message_that_can_be_read_can_be_read_too():
    endpoints = [outcome(Path(case["file"]).name) for case in MESSAGES]
    answered = [endpoint.responses[0] for endpoint in endpoints if endpoint.layer]
    assert len(answered) > 20
    for response in answered:
        assert parse_message(response.to_bytes()).status == response.status


def test_only_the_required_options_are_listed_as_unsupported():
    (response,) = outcome("bext01.dat").responses
    wanted = next(case for case in MESSAGES if case["name"] == "bext01")["facts"]["unsupported"]
    assert response.headers.values("Unsupported") == wanted


def test_a_refused_body_is_told_what_is_accepted():
    (response,) = outcome("invut.dat").responses
    assert response.headers.get("Accept") == "application/sdp"


@pytest.mark.parametrize("name", ["intmeth", "esc02", "mismatch02"])
def test_an_unknown_method_is_told_which_are_known(name):
    (response,) = outcome(f"{name}.dat").responses
    assert "INVITE" in response.allow


def test_the_closed_form_of_baddn_is_a_bad_request_too():
    assert [response.status for response in outcome("baddn_crlf.dat").responses] == [400]
