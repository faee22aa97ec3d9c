"""What usages share: message building, random values, named timers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from callmeter.errors import ConfigurationError
from callmeter.sip.headers import CSeq, NameAddr
from callmeter.sip.uri import SipUri
from callmeter.sip.usage import TimerName, Usage

if TYPE_CHECKING:
    from callmeter.sip.session_events import Effect

TARGET = SipUri(
    "sip", "example.net", user="bob", params=(("method", "INVITE"), ("transport", "tcp")),
    headers=(("Subject", "x"),),
)  # fmt: skip


class Recorder(Usage):
    """Notes which timers fire and sets the next of a plan."""

    __slots__ = ("fired", "plan")

    def _on_timer(self, name: TimerName, now: float) -> list[Effect]:
        self.fired.append((name, now))
        if self.plan:
            self._arm(*self.plan.pop())
        return []


@pytest.fixture
def recorder(rig):
    usage = Recorder(rig.agent, "call", "tag")
    usage.fired, usage.plan = [], []
    return usage


def create(rig):
    return rig.agent.create_request(
        "OPTIONS", TARGET, NameAddr(TARGET.aor()), CSeq(1, "OPTIONS"), "c", "t"
    )


def test_a_request_uri_leaves_out_what_only_describes_the_request(rig):
    request = create(rig)
    assert str(request.uri) == "sip:bob@example.net;transport=tcp"
    assert str(request.from_) == '"Alice" <sip:alice@example.com>;tag=t'
    assert str(request.to) == "<sip:bob@example.net>"


def test_the_outbound_proxy_is_the_first_route(rig):
    proxy = SipUri("sip", "proxy.example.com", params=(("lr", None),))
    rig.core.identity = replace(rig.core.identity, routes=(proxy,))
    request = create(rig)
    assert request.headers.get_all("Route") == ["<sip:proxy.example.com;lr>"]
    assert request.uri.host == "example.net"


def test_a_message_says_who_made_it_unless_told_not_to(rig):
    request, quiet = create(rig), create(rig)
    rig.agent.complete(request)
    rig.core.identity = replace(rig.core.identity, user_agent="")
    rig.agent.complete(quiet)
    assert request.headers.get("User-Agent") == "callmeter"
    assert "User-Agent" not in quiet.headers


def test_a_content_type_among_the_extra_lines_wins(rig):
    request = create(rig)
    rig.agent.complete(request, [("Content-Type", "text/x")], b"x", "text/plain")
    assert request.headers.get_all("Content-Type") == ["text/x"]


def test_a_body_of_no_type_is_refused(rig):
    with pytest.raises(ConfigurationError, match="3 octets has no content type"):
        rig.agent.complete(create(rig), body=b"a=b")


def test_a_response_gets_a_new_tag_unless_it_belongs_to_a_dialog(rig):
    request = rig.request("OPTIONS")
    tags = {rig.agent.respond(request, 200).to.tag for _ in range(2)}
    assert len(tags) == 2
    assert rig.agent.respond(request, 200, tag="mine").to.tag == "mine"


def test_tags_and_call_ids_have_enough_random_bits(rig):
    asked = []
    rig.agent.entropy = lambda octets: asked.append(octets) or bytes(octets)
    assert len(rig.agent.new_tag()) == 16
    assert len(rig.agent.new_call_id()) == 32
    assert rig.agent.uniform(2, 4) == 2
    assert asked == [8, 16, 4]


def test_timers_fire_in_the_order_of_their_times(rig, recorder):
    recorder._arm("late", 3.0)
    recorder._arm("soon", 1.0)
    recorder._arm("never", 9.0)
    rig.core.on_deadline(3.5)
    assert recorder.fired == [("soon", 3.5), ("late", 3.5)]
    assert rig.core.next_deadline() == 9.0


def test_a_timer_set_while_another_fires_may_be_due_at_once(rig, recorder):
    recorder.plan = [("second", 2.0)]
    recorder._arm("first", 1.0)
    rig.core.on_deadline(2.0)
    assert [name for name, _ in recorder.fired] == ["first", "second"]
    assert rig.core.next_deadline() is None


def test_a_usage_without_timers_leaves_the_heap(rig, recorder):
    recorder._arm("one", 1.0)
    recorder._arm("two", 2.0)
    recorder._disarm("one")
    assert recorder.slot is not None
    recorder._disarm("two", "unknown")
    assert recorder.slot is None
    assert rig.core.next_deadline() is None
