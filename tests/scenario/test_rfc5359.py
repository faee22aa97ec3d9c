"""Service examples of RFC 5359 that need nothing but user agents.

Media are opaque here: that a hold stops them is tested with the media.
"""

from __future__ import annotations

import pytest

from callmeter.sip.capabilities import Capabilities
from callmeter.sip.extension_headers import Replaces
from callmeter.sip.headers import NameAddr
from callmeter.sip.refer import refer_to_replacing
from callmeter.sip.session_events import (
    Answered,
    Cancelled,
    Ended,
    Failed,
    IncomingInvite,
    MessageReceived,
    Notified,
    Provisional,
    ReferReceived,
    ReinviteAnswered,
    ReinviteReceived,
    SubscribeReceived,
)

HELD = b"v=0\r\na=sendonly\r\n"
RESUMED = b"v=0\r\na=sendrecv\r\n"


@pytest.fixture
def service(bench):
    """Alice, Bob and Carol, who serve everything and answer what they are asked."""
    bench.enable(
        refer=True, refer_outside=True, message=True, update=True, events=("dialog",), redirects=5
    )
    bench.carol = bench.third()
    for party in (bench.alice, bench.bob, bench.carol):
        party.on_event = answering(bench, party)
    return bench


def answering(bench, party):
    """Answers calls, agrees to changes, and calls whom a REFER names."""
    reports = {}

    def on_event(event):
        now = bench.clock.now
        match event:
            case IncomingInvite(session):
                return [*session.progress(180, now), *session.accept(b"v=0", now)]
            case ReinviteReceived(session):
                return session.accept_reinvite(b"v=0", now)
            case ReferReceived(referral):
                call, effects = party.core.invite(
                    referral.target, now, body=b"v=0", headers=referral.invite_headers
                )
                bench.calls.append(call)
                reports[call] = referral
                return [*referral.accept(now), *effects]
            case Answered(call) if call in reports:
                return reports[call].report(200, now)
            case Failed(call, status) if call in reports:
                return reports[call].report(status, now)
        return []

    return on_event


def refer(bench, party, refer_to, session):
    usage, effects = party.core.refer(refer_to, bench.clock.now, session=session)
    party.apply(effects)
    bench.run(2)
    return usage


def calls_of(bench, party):
    return [call for call in bench.calls if call._agent is party.core._agent]


def end_all(bench):
    for party in (bench.alice, bench.bob, bench.carol):
        for session in party.core.sessions:
            party.apply(session.bye(bench.clock.now))
    bench.run(1)


def test_section_2_1_call_hold(service):
    caller = service.call()
    service.run(1)
    callee = service.incoming()
    for offer in (HELD, RESUMED):
        service.bob.apply(callee.reinvite(offer, service.clock.now))
        service.run(1)
        assert service.alice.events_of(ReinviteReceived)[-1].request.body == offer
    assert service.ladder()[-6:] == ["bob INVITE", "alice 200", "bob ACK"] * 2
    assert len(service.bob.events_of(ReinviteAnswered)) == 2
    service.hang_up(caller)


def test_section_2_2_consultation_hold(service):
    first = service.call()
    service.run(1)
    service.bob.apply(service.incoming().reinvite(HELD, service.clock.now))
    service.run(1)
    second = service.dial(service.bob, service.carol.contact)
    service.run(1)
    service.bob.apply(second.bye(service.clock.now))
    service.run(1)
    service.bob.apply(service.incoming().reinvite(RESUMED, service.clock.now))
    service.run(1)
    assert first.answered
    service.hang_up(first)


def test_section_2_4_transfer_unattended(service):
    first = service.call()
    service.run(1)
    usage = refer(service, service.bob, NameAddr(service.carol.contact), service.incoming())
    assert usage.progress == (200, "OK")
    service.bob.apply(service.incoming().bye(service.clock.now))
    service.run(1)
    assert service.alice.events_of(Ended)[0].session is first
    assert service.carol.events_of(IncomingInvite)[0].session.answered
    end_all(service)


def test_section_2_5_transfer_attended(service):
    service.call()
    service.run(1)
    consultation = service.dial(service.bob, service.carol.contact)
    service.run(1)
    refer_to = refer_to_replacing(consultation.dialog)
    usage = refer(service, service.bob, refer_to, service.incoming())
    assert usage.progress == (200, "OK")
    assert consultation.over
    service.bob.apply(service.incoming().bye(service.clock.now))
    service.run(1)
    (alive,) = service.alice.core.sessions
    assert alive.remote_target.host == "192.0.2.3"
    end_all(service)


def test_section_2_6_transfer_by_instant_messaging(service):
    caller = service.call()
    service.run(1)
    service.alice.on_event = lambda event: (
        event.session.answer(event.key, 200, service.clock.now)
        if type(event) is MessageReceived
        else []
    )
    body = str(service.carol.contact).encode()
    _, effects = service.incoming().send(
        "MESSAGE", service.clock.now, body=body, content_type="text/plain"
    )
    service.bob.apply(effects)
    service.run(1)
    assert service.alice.events_of(MessageReceived)[0].request.body == body
    service.hang_up(caller)


@pytest.mark.parametrize("when", ["2.7 unconditional", "2.8 busy", "2.9 no answer"])
def test_sections_2_7_to_2_9_call_forwarding(service, when):
    lines = [("Contact", f"<{service.carol.contact}>")]

    def forward(session):
        return [] if session.over else session.reject(302, service.clock.now, headers=lines)

    def on_event(event):
        if type(event) is not IncomingInvite:
            return []
        if "answer" not in when:
            return forward(event.session)
        service.schedule(10, service.bob, lambda: forward(event.session))
        return event.session.progress(180, service.clock.now)

    service.bob.on_event = on_event
    caller = service.call()
    service.run(12)
    assert caller.answered
    assert caller.remote_target.host == "192.0.2.3"
    service.hang_up(caller)


def test_section_2_16_call_pickup(service):
    """Carol picks up what rings at Bob: she takes the place of the early dialog at Alice."""
    service.bob.on_event = lambda event: (
        event.session.progress(180, service.clock.now) if type(event) is IncomingInvite else []
    )
    ringing = service.call()
    service.run(1)
    dialog = service.incoming().dialog
    value = Replaces(dialog.call_id, dialog.remote_tag, dialog.local_tag, early_only=True)
    picked = service.dial(service.carol, service.alice.contact, headers=[("Replaces", str(value))])
    service.run(1)
    assert picked.answered
    assert service.alice.events_of(Failed)[0].session is ringing
    assert len(service.bob.events_of(Cancelled)) == 1
    service.carol.apply(picked.bye(service.clock.now))


def test_section_2_17_automatic_redial(service):
    """Alice is told when Bob, who was busy, is free again."""
    service.alice.core.capabilities = Capabilities(subscriptions=True)
    service.bob.on_event = lambda event: (
        event.session.reject(486, service.clock.now)
        if type(event) is IncomingInvite
        else event.usage.accept(service.clock.now, body=b"confirmed", content_type="text/xml")
        if type(event) is SubscribeReceived
        else []
    )
    service.call()
    service.run(1)
    usage, effects = service.alice.core.subscribe(
        service.bob.contact, "dialog", 600, service.clock.now
    )
    service.alice.apply(effects)
    service.run(1)
    service.bob.on_event = answering(service, service.bob)
    state = service.bob.events_of(SubscribeReceived)[0].usage
    service.bob.apply(state.notify(b"terminated", "text/xml", service.clock.now))
    service.run(1)
    bodies = [event.request.body for event in service.alice.events_of(Notified)]
    assert bodies == [b"confirmed", b"terminated"]
    again = service.call()
    service.run(1)
    assert again.answered
    service.alice.apply(usage.unsubscribe(service.clock.now))
    service.hang_up(again)


def test_section_2_18_click_to_dial(service):
    """A program asks Alice's phone to call Bob."""
    usage, effects = service.carol.core.refer(
        NameAddr(service.bob.contact), service.clock.now, target=service.alice.contact
    )
    service.carol.apply(effects)
    service.run(2)
    assert usage.progress == (200, "OK")
    assert len(service.alice.events_of(Provisional)) == 1
    (call,) = calls_of(service, service.alice)
    assert call.answered
    service.hang_up(call)
