"""Ten thousand phones after a restart of their registrar: in virtual time."""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from heapq import heapify, heappop, heappush

import pytest

from callmeter.config import TimerConfig
from callmeter.sip.headers import NameAddr
from callmeter.sip.identity import Identity
from callmeter.sip.register import RECOVERIES_A_SECOND, RecoveryPace
from callmeter.sip.session_events import SendRequest
from callmeter.sip.uri import SipUri
from callmeter.sip.user_agent import UserAgentCore

LONG = bool(os.environ.get("CALLMETER_LONG"))
PHONES = 10_000
RESTARTS = [0.0, 0.5, 2.0, 5.0, 10.0] if LONG else [2.0]
OUTAGES = [60.0, 600.0] if LONG else [60.0]
REGISTRAR = SipUri("sip", "example.com")


class Phone:
    """A registered user agent, and a count of what it has sent."""

    def __init__(self, number, entropy):
        aor = NameAddr(SipUri("sip", "example.com", user=f"u{number}"))
        contact = SipUri("sip", "192.0.2.1", 5060).with_params(transport="tcp")
        self.core = UserAgentCore(Identity(aor, contact), TimerConfig(), entropy)
        self.usage, (order,) = self.core.register(REGISTRAR, 3600, 0.0, instance=f"urn:x:{number}")
        self.answer(order, 0.0)

    def answer(self, order, now):
        self.core.on_response(order.token, order.request.create_response(200, to_tag="r"), now)

    def refuse(self, order, now):
        self.core.on_transport_error(order.token, "Connection refused", now)


@pytest.fixture
def tell(record_property, capsys):
    def record(name, value):
        record_property(name, value)
        with capsys.disabled():
            sys.stdout.write(f"\n{name}: {value}")

    return record


def restart(phones, down, *, pace):
    """Every flow is lost at 1000 s; when the REGISTERs come that find the registrar up again."""
    begin, up = 1000.0, 1000.0 + down
    arrivals, tries, due = [], Counter(), []

    def carry_out(phone, effects, now):
        for effect in effects:
            if isinstance(effect, SendRequest):
                tries[phone] += 1
                if now >= up:
                    arrivals.append(now - up)
                    phone.answer(effect, now)
                    return
                phone.refuse(effect, now)
        heappush(due, (phone.core.next_deadline(), phones.index_of[phone], phone))

    for phone in phones:
        carry_out(phone, phone.usage.on_flow_lost(begin, pace.pause(begin)), begin)
    heapify(due)
    while due:
        at, _, phone = heappop(due)
        carry_out(phone, phone.core.on_deadline(at), at)
    return arrivals, tries


class Phones(list):
    def __init__(self, made):
        super().__init__(made)
        self.index_of = {phone: number for number, phone in enumerate(self)}


@pytest.fixture
def phones():
    generator = random.Random(5626)
    return Phones(Phone(number, generator.randbytes) for number in range(PHONES))


def spread(arrivals):
    """The most in one second, and how many there were a second from the first to the last."""
    first, last = min(arrivals), max(arrivals)
    by_second = Counter(int(at - first) for at in arrivals)
    return max(by_second.values()), len(arrivals) / max(1.0, last - first)


@pytest.mark.parametrize("down", RESTARTS)
def test_after_a_restart_the_phones_of_a_stack_come_back_evenly(phones, tell, down):
    arrivals, _ = restart(phones, down, pace=RecoveryPace())
    assert len(arrivals) == PHONES
    peak, mean = spread(arrivals)
    tell(
        f"{PHONES} phones, registrar down for {down:g} s",
        f"peak {peak} a second, mean {mean:.0f} a second, ratio {peak / mean:.2f}",
    )
    assert peak <= 3 * mean
    # Those put off by the pace, and those of the first back-off step beside them.
    assert peak <= RECOVERIES_A_SECOND + PHONES / 15 * 1.3


@pytest.mark.parametrize("down", OUTAGES)
def test_after_an_outage_no_phone_tries_oftener_than_its_back_off_allows(phones, tell, down):
    arrivals, tries = restart(phones, down, pace=RecoveryPace())
    peak, mean = spread(arrivals)
    tell(
        f"{PHONES} phones, registrar down for {down:g} s",
        f"peak {peak} a second, mean {mean:.0f} a second, "
        f"tries of one phone at most {max(tries.values())}",
    )
    # One at once, then one in each step of 30, 60, 120 ... s, of which at least half has to pass.
    steps = 2
    while 15 * (2 ** (steps - 1) - 1) < down:
        steps += 1
    assert max(tries.values()) <= steps
    # What the doubling makes of 10,000 in the worst second is less than their first step has.
    assert peak <= PHONES / 15 * 1.3


def test_a_single_flow_is_replaced_at_once_and_many_one_after_the_other():
    pace = RecoveryPace()
    assert pace.pause(10.0) == 0.0
    pauses = [pace.pause(10.0) for _ in range(RECOVERIES_A_SECOND)]
    assert pauses[0] == pytest.approx(1 / RECOVERIES_A_SECOND)
    assert pauses[-1] == pytest.approx(1.0)
    assert pace.pause(100.0) == 0.0
