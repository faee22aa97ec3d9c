"""Whatever both ends do, in whatever order and over whatever network: each session ends once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from callmeter.errors import LocalProtocolError
from callmeter.session_config import Extension, SessionTimerConfig
from callmeter.sip.headers import NameAddr
from callmeter.sip.session_events import Answered, IncomingInvite, InfoReceived, ReferReceived
from callmeter.testing.network import LinkConditions

ACTIONS = {
    "bye": lambda session, now: session.bye(now),
    "cancel": lambda session, now: session.cancel(now),
    "ring": lambda session, now: session.progress(180, now),
    "accept": lambda session, now: session.accept(b"answer", now),
    "reject": lambda session, now: session.reject(486, now),
    "ack": lambda session, now: session.ack(b"answer", now),
    "offer": lambda session, now: session.reinvite(b"offer", now),
    "ask for an offer": lambda session, now: session.reinvite(b"", now),
    "withdraw": lambda session, now: session.replace_waiting_offer(None) or [],
    "agree": lambda session, now: session.accept_reinvite(b"answer", now),
    "disagree": lambda session, now: session.reject_reinvite(488, now),
    "info": lambda session, now: session.info("text/plain", b"x", now)[1],
}

EXTENDED = ACTIONS | {
    "ring early": lambda session, now: session.progress(183, now, body=SDP),
    "ring reliably": lambda session, now: session.progress(183, now, body=SDP, reliable=True),
    "ring unreliably": lambda session, now: session.progress(180, now, reliable=False),
    "acknowledge": lambda session, now: session.prack(b"", now),
    "acknowledge and describe": lambda session, now: session.prack(SDP, now),
    "answer the prack": lambda session, now: session.answer_prack(SDP, now),
    "update": lambda session, now: session.update(SDP, now),
    "update nothing": lambda session, now: session.update(b"", now),
    "agree to the update": lambda session, now: session.accept_update(SDP, now),
    "agree silently": lambda session, now: session.accept_update(b"", now),
    "refuse the update": lambda session, now: session.reject_update(488, now),
    "message": lambda session, now: session.send("MESSAGE", now)[1],
    "refer": lambda session, now: [],
}
"""What may be done when both ends serve everything."""

SDP = b"v=0\r\n"

SHARES = st.sampled_from([0.0, 0.2, 0.5])

STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.005, 0.02, 0.5, 3.0, 20.0, 40.0]),
        st.sampled_from(["alice", "bob"]),
        st.sampled_from([*ACTIONS, "cut", "heal"]),
    ),
    max_size=25,
)


def act(bench, session, name):
    try:
        return EXTENDED[name](session, bench.clock.now)
    except LocalProtocolError:
        return []  # not now
    except AttributeError as error:
        if error.obj is not session:
            raise
        return []  # not from this end


def end(bench, session):
    """Hang up in the way the state allows."""
    for name in ("reject", "cancel", "ack", "bye"):
        effects = act(bench, session, name)
        if effects or session.over:
            return effects
    return []


@settings(max_examples=150)
@given(
    steps=STEPS,
    seed=st.integers(0, 2**16),
    loss=SHARES,
    duplicate=SHARES,
    jitter=st.sampled_from([0.0, 1.0]),
    offer=st.sampled_from([b"offer", b""]),
    answered=st.booleans(),
)
def test_every_session_ends_exactly_once_and_leaves_nothing(
    new_bench, steps, seed, loss, duplicate, jitter, offer, answered
):
    bench = new_bench(
        seed, LinkConditions(delay=0.01, loss=loss, duplicate=duplicate, jitter=jitter)
    )
    sessions = {"alice": bench.call(body=offer)}
    parties = {"alice": bench.alice, "bob": bench.bob}

    def on_event(event):
        if isinstance(event, IncomingInvite):
            sessions.setdefault("bob", event.session)
            return event.session.accept(b"answer", bench.clock.now) if answered else []
        if isinstance(event, InfoReceived):
            return event.session.answer(event.key, 200, bench.clock.now)
        if isinstance(event, Answered) and answered:
            return act(bench, event.session, "ack")
        return []

    for party in parties.values():
        party.on_event = on_event
    bench.run(1.0 if answered else 0.0)
    for wait, who, name in steps:
        bench.run(wait)
        if name == "cut":
            bench.network.partition("192.0.2.1", "192.0.2.2")
        elif name == "heal":
            bench.network.heal()
        elif who in sessions:
            parties[who].apply(act(bench, sessions[who], name))
    bench.network.heal()
    for _ in range(2):
        bench.run(40)
        for who, session in sessions.items():
            parties[who].apply(end(bench, session))
    bench.check_nothing_is_left()


@settings(max_examples=200)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.005, 0.02, 0.5, 3.0, 20.0, 40.0, 100.0]),
            st.sampled_from(["alice", "bob"]),
            st.sampled_from([*EXTENDED, "cut", "heal"]),
        ),
        max_size=30,
    ),
    seed=st.integers(0, 2**16),
    loss=SHARES,
    duplicate=SHARES,
    jitter=st.sampled_from([0.0, 1.0]),
    offer=st.sampled_from([SDP, b""]),
    manual=st.booleans(),
    reliable=st.sampled_from(list(Extension)),
    update=st.booleans(),
)
def test_with_every_extension_each_session_ends_once_too(
    new_bench, steps, seed, loss, duplicate, jitter, offer, manual, reliable, update
):
    bench = new_bench(
        seed, LinkConditions(delay=0.01, loss=loss, duplicate=duplicate, jitter=jitter)
    )
    bench.enable(
        reliable=reliable,
        update=update,
        refer=True,
        message=True,
        session_timer=SessionTimerConfig(mode=Extension.SUPPORTED, expires=90),
    )
    parties = {"alice": bench.alice, "bob": bench.bob}
    sessions = {
        "alice": bench.dial(bench.alice, bench.bob.contact, offer, manual_prack=manual),
    }

    def on_event(event):
        if isinstance(event, IncomingInvite):
            sessions.setdefault("bob", event.session)
        if isinstance(event, ReferReceived):
            return event.usage.accept(bench.clock.now, expires=30)
        return []

    for party in parties.values():
        party.on_event = on_event
    for wait, who, name in steps:
        bench.run(wait)
        party, session = parties[who], sessions.get(who)
        if name == "cut":
            bench.network.partition("192.0.2.1", "192.0.2.2")
        elif name == "heal":
            bench.network.heal()
        elif name == "refer" and session is not None and session.answered:
            refer_to = NameAddr(bench.alice.contact)
            party.apply(party.core.refer(refer_to, bench.clock.now, session=session)[1])
        elif session is not None:
            party.apply(act(bench, session, name))
    bench.network.heal()
    for _ in range(2):
        bench.run(40)
        for who, session in sessions.items():
            parties[who].apply(end(bench, session))
    bench.run(100)
    bench.check_nothing_is_left()
