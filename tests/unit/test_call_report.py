from __future__ import annotations

import dataclasses
import json
import pickle

from callmeter import metrics
from callmeter.call_report import CallReport
from callmeter.metrics.phases import Outcome, Phase
from callmeter.trace.message_log import MessageLog

INVITE = (
    b"INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n"
    b"From: <sip:a@example.com>;tag=a\r\nTo: <sip:b@example.com>\r\nCall-ID: one@example.com\r\n"
    b"CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
)


def report(**fields):
    log = MessageLog()
    log.add(
        raw=INVITE,
        time=1.0,
        direction="sent",
        transport="UDP",
        local="192.0.2.1:5060",
        peer="192.0.2.2:5060",
    )
    return CallReport(phase=Phase.CLOSED, outcome=Outcome.SUCCESS, messages=tuple(log), **fields)


def test_a_report_makes_its_page_by_itself():
    html = report().to_html()
    assert html.startswith("<!DOCTYPE html>")
    assert "INVITE" in html


def test_a_report_with_messages_pickles():
    made = report()
    assert made.to_html()
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert again.to_html() == made.to_html()


def test_a_report_can_be_changed_and_keeps_its_messages():
    changed = dataclasses.replace(report(), outcome=Outcome.TIMEOUT)
    assert len(changed.messages) == 1


def test_the_messages_are_in_neither_the_json_nor_the_text():
    made = report()
    assert isinstance(made, metrics.CallReport)
    for shown in (json.dumps(made.to_dict()), str(made), repr(made)):
        assert "z9hG4bKa" not in shown
