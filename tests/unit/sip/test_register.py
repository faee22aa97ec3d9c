"""Registration: RFC 3261 section 10.2."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.sip.register import RegistrationState
from callmeter.sip.session_events import (
    Registered,
    RegistrationFailed,
    SendRequest,
    Unregistered,
)
from callmeter.sip.uri import SipUri

REGISTRAR = SipUri("sip", "example.com")
MINE = "<sip:alice-7f@192.0.2.1:5060>"


@pytest.fixture
def register(rig):
    def start(expires=600):
        usage, (order,) = rig.core.register(REGISTRAR, expires, rig.now)
        return usage, order

    return start


@pytest.fixture
def registered(rig, register):
    usage, order = register()
    rig.answer(order, 200, contact=f"{MINE};expires=600")
    return usage


def only(effects, kind):
    (effect,) = effects
    assert isinstance(effect, kind)
    return effect


def test_a_register_names_the_domain_the_address_of_record_and_the_contact(register):
    usage, order = register()
    request = order.request
    assert str(request.uri) == "sip:example.com"
    assert str(request.from_.uri) == str(request.to.uri) == "sip:alice@example.com"
    assert request.to.tag is None
    assert request.headers.get("Contact") == MINE
    assert request.expires == 600
    assert usage.state is RegistrationState.REGISTERING
    assert repr(usage) == "<RegisterUsage sip:example.com registering>"


def test_the_time_granted_is_that_of_our_own_contact(rig, register):
    usage, order = register()
    lines = [("Contact", "<sip:alice-7f@192.0.2.1:5060>;expires=120"), ("Expires", "600")]
    event = only(rig.answer(order, 200, contact="<sip:a@other>;expires=5", headers=lines),
                 Registered)  # fmt: skip
    assert (event.expires, usage.granted, usage.expires_at) == (120, 120, 120.0)
    assert usage.state is RegistrationState.REGISTERED


@pytest.mark.parametrize(
    ("contact", "lines", "granted"),
    [
        (None, [("Expires", "300")], 300),
        (None, [], 600),
        ("*", [], 600),
        (MINE, [], 600),
        (f"{MINE};expires=soon", [("Expires", "90")], 90),
        ("<sip:alice-7f@203.0.113.9:1024>;expires=70", [], 70),
        ("<sip:other@192.0.2.1:5060>;expires=70", [], 600),
        ("<tel:+15550100>;expires=70", [], 600),
    ],
)
def test_without_an_own_expires_the_header_counts_and_then_what_was_asked(
    rig, register, contact, lines, granted
):
    usage, order = register()
    rig.answer(order, 200, contact=contact, headers=lines)
    assert usage.granted == granted


def test_a_contact_without_user_is_recognised_as_a_whole(rig, register):
    rig.core.identity = replace(rig.core.identity, contact=SipUri("sip", "192.0.2.1", 5060))
    usage, order = register()
    lines = [("Contact", "<sip:192.0.2.1:5060>;expires=60")]
    rig.answer(order, 200, contact="<sip:192.0.2.9:5060>;expires=50", headers=lines)
    assert usage.granted == 60


def test_the_binding_is_refreshed_at_80_to_90_percent_with_the_next_cseq(rig, registered):
    deadlines = rig.core.next_deadline()
    assert 480 <= deadlines <= 540
    order = only(rig.advance(540), SendRequest)
    assert order.request.cseq.number == 2
    assert order.request.call_id == registered.call_id
    assert registered.state is RegistrationState.REGISTERED
    only(rig.answer(order, 200), Registered)
    assert rig.core.next_deadline() > rig.now


def test_refreshes_are_spread(rig, register):
    times = set()
    for octet in range(0, 250, 50):
        usage, order = register()
        rig.agent.entropy = lambda n, octet=octet: bytes([octet]) * n
        rig.answer(order, 200)
        times.add(usage.next_deadline())
    assert len(times) == 5
    assert all(480 <= when <= 540 for when in times)


def test_a_registrar_that_grants_nothing_is_not_asked_without_pause(rig, register):
    _, order = register()
    rig.answer(order, 200, contact=f"{MINE};expires=0")
    assert rig.core.next_deadline() == 1.0


def test_a_refresh_by_hand_waits_for_the_register_under_way(rig, register):
    usage, order = register()
    assert usage.refresh(0.0) == []
    rig.answer(order, 200)
    again = only(usage.refresh(1.0), SendRequest)
    assert again.request.cseq.number == 2
    assert rig.core.next_deadline() is None


def test_a_provisional_response_decides_nothing(rig, register):
    _, order = register()
    assert rig.answer(order, 100) == []


def test_a_challenge_is_answered_once(rig, register):
    rig.trust("example.com")
    usage, order = register()
    lines = [("WWW-Authenticate", 'Digest realm="r", nonce="n"')]
    again = only(rig.answer(order, 401, headers=lines), SendRequest)
    assert again.request.cseq.number == 2
    event = only(rig.answer(again, 401, headers=lines), RegistrationFailed)
    assert (event.status, event.cause) == (401, "authentication")
    assert usage.state is RegistrationState.FAILED
    assert usage.retry_at is None
    assert rig.core.next_deadline() is None


def test_a_longer_interval_is_asked_for_when_the_registrar_wants_one(rig, register):
    usage, order = register(60)
    again = only(rig.answer(order, 423, headers=[("Min-Expires", "300")]), SendRequest)
    assert (again.request.expires, usage.expires) == (300, 300)
    rig.answer(again, 200)
    assert usage.granted == 300


@pytest.mark.parametrize("lines", [[], [("Min-Expires", "60")], [("Min-Expires", "no")]])
def test_a_423_that_asks_for_no_more_is_a_refusal(rig, register, lines):
    _, order = register(60)
    event = only(rig.answer(order, 423, headers=lines), RegistrationFailed)
    assert (event.status, event.cause) == (423, "rejected")


def test_a_registrar_that_raises_its_price_without_end_is_left(rig, register):
    _, order = register(60)
    for seconds in (61, 62, 63):
        order = only(rig.answer(order, 423, headers=[("Min-Expires", str(seconds))]), SendRequest)
    only(rig.answer(order, 423, headers=[("Min-Expires", "64")]), RegistrationFailed)


@pytest.mark.parametrize(
    ("report", "status", "cause"),
    [("on_timeout", 408, "timeout"), ("on_transport_error", 503, "transport")],
)
def test_a_first_registration_that_fails_is_not_repeated(rig, register, report, status, cause):
    usage, order = register()
    event = only(getattr(rig.core, report)(order.token, "F", 32.0), RegistrationFailed)
    assert (event.usage, event.status, event.cause) == (usage, status, cause)
    assert event.reason
    assert rig.core.next_deadline() is None
    only(usage.refresh(40.0), SendRequest)
    assert usage.state is RegistrationState.REGISTERING


def test_a_failed_refresh_is_tried_again_later_and_later(rig, registered):
    waits = []
    order = only(rig.advance(540), SendRequest)
    for _ in range(9):
        only(rig.core.on_timeout(order.token, "F", rig.now), RegistrationFailed)
        waits.append(registered.retry_at - rig.now)
        order = only(rig.advance(1800), SendRequest)
        assert registered.retry_at is None
    assert 15 <= waits[0] <= 30
    assert all(later > sooner for sooner, later in pairwise(waits[:6]))
    assert 900 <= waits[-1] <= 1800
    only(rig.answer(order, 200), Registered)
    assert registered.state is RegistrationState.REGISTERED


def test_a_success_forgets_the_failures_before_it(rig, registered):
    for _ in range(2):
        order = only(rig.advance(540), SendRequest)
        for _ in range(4):
            rig.core.on_timeout(order.token, "F", rig.now)
            wait = registered.retry_at - rig.now
            order = only(rig.advance(wait), SendRequest)
        assert wait > 60
        rig.answer(order, 200)
        order = only(rig.advance(540), SendRequest)
        rig.core.on_timeout(order.token, "F", rig.now)
        assert registered.retry_at - rig.now <= 30
        order = only(rig.advance(30), SendRequest)
        rig.answer(order, 200)


def test_a_success_forgets_the_intervals_that_were_raised_before_it(rig, register):
    usage, order = register(60)
    for seconds in (61, 62, 63):
        (order,) = rig.answer(order, 423, headers=[("Min-Expires", str(seconds))])
    rig.answer(order, 200)
    (order,) = usage.refresh(rig.now)
    only(rig.answer(order, 423, headers=[("Min-Expires", "90")]), SendRequest)


@pytest.mark.parametrize(("octet", "low", "high"), [(0, 15, 15), (255, 29.99, 30)])
def test_the_first_wait_after_a_failure_is_half_a_minute_at_most(rig, registered, octet, low, high):
    order = only(rig.advance(540), SendRequest)
    rig.agent.entropy = lambda octets: bytes([octet]) * octets
    only(rig.answer(order, 300), RegistrationFailed)
    assert low <= registered.retry_at - rig.now <= high


def test_retry_after_decides_when_a_refresh_is_tried_again(rig, registered):
    order = only(rig.advance(540), SendRequest)
    rig.answer(order, 503, headers=[("Retry-After", "77")])
    assert registered.retry_at == rig.now + 77


@pytest.mark.parametrize("status", [403, 404, 501])
def test_a_refusal_that_would_come_again_ends_the_refreshing(rig, registered, status):
    order = only(rig.advance(540), SendRequest)
    only(rig.answer(order, status), RegistrationFailed)
    assert registered.retry_at is None
    assert rig.core.next_deadline() is None


def test_to_unregister_asks_for_no_time_at_all(rig, registered):
    order = only(registered.unregister(1.0), SendRequest)
    assert order.request.expires == 0
    assert order.request.headers.get("Contact") == MINE
    assert registered.state is RegistrationState.UNREGISTERING
    assert registered.unregister(1.0) == []
    only(rig.answer(order, 200), Unregistered)
    assert (registered.granted, registered.expires_at) == (0, None)
    assert rig.core.next_deadline() is None
    with pytest.raises(LocalProtocolError, match="anew"):
        registered.refresh(2.0)


def test_to_unregister_waits_for_the_register_under_way(rig, register):
    usage, order = register()
    assert usage.unregister(0.1) == []
    granted, second = rig.answer(order, 200)
    assert isinstance(granted, Registered)
    assert second.request.expires == 0
    only(rig.answer(second, 200), Unregistered)


def test_to_unregister_after_a_failure_needs_no_message(rig, register):
    usage, order = register()
    rig.answer(order, 403)
    only(usage.unregister(1.0), Unregistered)
    assert usage.state is RegistrationState.UNREGISTERED


def test_a_register_that_fails_while_we_are_leaving_leaves(rig, register):
    usage, order = register()
    usage.unregister(0.1)
    failed, gone = rig.answer(order, 423, headers=[("Min-Expires", "9000")])
    assert isinstance(failed, RegistrationFailed)
    assert isinstance(gone, Unregistered)


def test_an_unregister_that_fails_is_over_all_the_same(rig, registered):
    order = only(registered.unregister(1.0), SendRequest)
    only(rig.core.on_timeout(order.token, "F", 33.0), RegistrationFailed)
    assert registered.state is RegistrationState.UNREGISTERED
    assert rig.core.next_deadline() is None


# outbound flows (RFC 5626)

INSTANCE = "urn:uuid:00000000-0000-4000-8000-00000000abcd"


@pytest.fixture
def outbound(rig):
    """A registration over TCP that asks for an outbound flow: its usage and first order."""
    identity = rig.core.identity
    rig.core.identity = replace(identity, contact=identity.contact.with_params(transport="tcp"))
    usage, (order,) = rig.core.register(REGISTRAR, 600, rig.now, instance=INSTANCE)
    return usage, order


def test_over_a_connection_a_register_names_instance_and_flow(outbound):
    _, order = outbound
    contact = order.request.headers.get("Contact")
    assert contact == (
        f'<sip:alice-7f@192.0.2.1:5060;transport=tcp>;+sip.instance="<{INSTANCE}>";reg-id=1'
    )
    assert order.request.supported >= {"outbound", "path"}


def test_over_datagrams_a_register_names_its_flow_too(rig):
    _, (order,) = rig.core.register(REGISTRAR, 600, rig.now, instance=INSTANCE)
    assert order.request.headers.get("Contact") == f'{MINE};+sip.instance="<{INSTANCE}>";reg-id=1'
    assert "outbound" in order.request.supported


def test_without_an_instance_no_flow_is_asked_for(rig):
    _, (order,) = rig.core.register(REGISTRAR, 600, rig.now)
    assert order.request.headers.get("Contact") == MINE
    assert "outbound" not in order.request.supported


def test_a_first_hop_that_cannot_keep_a_flow_gets_a_plain_register(rig, outbound):
    usage, order = outbound
    again = only(rig.answer(order, 439), SendRequest)
    assert "reg-id" not in again.request.headers.get("Contact")
    assert again.request.expires == 600
    rig.answer(again, 439)
    assert usage.state is RegistrationState.FAILED


def test_a_lost_flow_is_replaced_at_once(rig, outbound):
    usage, order = outbound
    rig.answer(order, 200)
    again = only(usage.on_flow_lost(rig.now + 5), SendRequest)
    assert "reg-id=1" in again.request.headers.get("Contact")
    assert again.request.call_id == order.request.call_id
    # The loss of another connection changes nothing while that is under way.
    assert usage.on_flow_lost(rig.now + 5) == []


def test_flows_that_do_not_live_are_replaced_later_and_later(rig, outbound):
    usage, order = outbound
    waits = []
    for _ in range(8):
        rig.answer(order, 200)
        effects = usage.on_flow_lost(rig.now)
        if not effects:
            waits.append(usage.next_deadline() - rig.now)
            rig.now = usage.next_deadline()
            effects = usage.on_deadline(rig.now)
        order = only(effects, SendRequest)
    for number, wait in enumerate(waits):
        longest = min(1800, 30 * 2**number)
        assert longest / 2 <= wait <= longest
    assert len(waits) == 7


def test_a_flow_that_lived_forgives_those_before_it(rig, outbound):
    usage, order = outbound
    for _ in range(3):
        rig.answer(order, 200)
        order = only(usage.on_flow_lost(rig.now + 30), SendRequest)


def test_a_flow_that_cannot_be_replaced_is_tried_again_by_the_same_waits(rig, outbound):
    usage, order = outbound
    rig.answer(order, 200)
    order = only(usage.on_flow_lost(rig.now), SendRequest)
    rig.core.on_transport_error(order.token, "refused", rig.now)
    assert 15 <= usage.retry_at - rig.now <= 30
    # It has no flow that could be lost.
    assert usage.on_flow_lost(rig.now) == []


INSTANCE = "urn:uuid:00000000-0000-1000-8000-000a95a0e128"


def test_a_register_may_carry_further_lines_each_time(rig):
    usage, (order,) = rig.core.register(REGISTRAR, 600, 0.0, headers=[("X-Y", "z")])
    assert order.request.headers.get("X-Y") == "z"
    assert order.request.supported == {"path"}
    rig.answer(order, 200, headers=[("Expires", "600")])
    (order,) = usage.refresh(0.0)
    assert order.request.headers.get("X-Y") == "z"


def test_the_registrar_tells_the_ways_and_a_gruu(rig):
    usage, (order,) = rig.core.register(REGISTRAR, 600, 0.0, instance=INSTANCE)
    assert order.request.supported == {"outbound", "path", "gruu"}
    contact = (
        f'<{rig.core.identity.contact}>;expires=600;+sip.instance="<{INSTANCE}>"'
        f';pub-gruu="sip:alice@example.com;gr={INSTANCE}";temp-gruu="sip:tgruu.7hs@example.com;gr"'
    )
    lines = [
        ("Path", "<sip:edge.example.com;lr>"),
        ("Service-Route", "<sip:p1.example.com;lr>, <sip:p2.example.com;lr>, <tel:+1>"),
        ("Contact", "<sip:other@192.0.2.9>"),
    ]
    rig.answer(order, 200, headers=lines, contact=contact)
    assert [str(uri) for uri in usage.path] == ["sip:edge.example.com;lr"]
    assert [uri.host for uri in usage.service_route] == ["p1.example.com", "p2.example.com"]
    assert str(usage.public_gruu) == f"sip:alice@example.com;gr={INSTANCE}"
    assert str(usage.temporary_gruu) == "sip:tgruu.7hs@example.com;gr"
    (order,) = usage.unregister(0.0)
    rig.answer(order, 200)
    assert (usage.path, usage.service_route, usage.public_gruu) == ((), (), None)


@pytest.mark.parametrize(
    ("route", "gruu"), [("<sip:p1;lr>, <:>", "sip:"), ("", "tel:+1"), ("<sip:[>", "")]
)
def test_what_the_registrar_garbles_is_not_followed(rig, route, gruu):
    usage, (order,) = rig.core.register(REGISTRAR, 600, 0.0, instance=INSTANCE)
    contact = f'<{rig.core.identity.contact}>;pub-gruu="{gruu}"'
    rig.answer(order, 200, headers=[("Service-Route", route)], contact=contact)
    assert (usage.service_route, usage.public_gruu) == ((), None)
