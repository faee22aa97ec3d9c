"""Checks of the packets themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.diagnosis import packets
from callmeter.srtp.trial import FailureCause

ONE_REPORT = (
    "1 report of the peer says nothing of the 150 packets sent: it hears them not, or cannot "
    "decrypt them"
)
NOTHING = {"packets_received": 0, "rtcp_received": 0}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "pass"),
        ({"answered": False}, "skip"),
        ({"direction": None}, "skip"),
        (NOTHING, "fail"),
        ({**NOTHING, "direction": "recvonly"}, "fail"),
        ({**NOTHING, "direction": "sendonly"}, "skip"),
        ({**NOTHING, "seconds": 0.9}, "skip"),
        ({**NOTHING, "dropped": {"source": 5}}, "pass"),
    ],
)
def test_whether_anything_arrives(status_of, healthy, changes, status):
    assert status_of(packets.port_reachable, healthy, **changes)[0] == status


def test_a_peer_that_sends_nothing_is_not_put_down_to_the_firewall_alone(status_of, healthy):
    _, finding = status_of(packets.port_reachable, healthy, **NOTHING)
    assert "firewall" in finding.remedy
    assert "Or the peer sends nothing: a SIPp scenario without media" in finding.remedy
    assert "Capture at the peer" in finding.remedy


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "pass", "150 packets sent, 150 received"),
        ({"answered": False}, "skip", "no media"),
        ({"direction": "recvonly"}, "skip", "recvonly"),
        ({"direction": "recvonly", "answer": None}, "skip", "recvonly"),
        ({"packets_received": 0, "dropped": {"payload_type": 10}}, "skip", "another check"),
        ({"failure": FailureCause.KEY}, "skip", "another check"),
        (NOTHING, "skip", "another check"),
        ({"seconds": 0.5}, "skip", "too early"),
        ({"packets_received": 0}, "fail", "none of the peer's was heard"),
        ({**NOTHING, "dropped": {"source": 5, "early": 0}}, "fail", "reason: 5 source)"),
        ({"packets_sent": 0}, "fail", "none was sent"),
        ({"reported_loss": 99.6}, "fail", "a loss of 100 %"),
        ({"reported_loss": 50.0}, "pass", "150"),
        ({"reported_loss": 99.6, "packets_sent": 20}, "pass", "20"),
        ({"reported_loss": None}, "warn", "2 reports of the peer"),
        ({"reported_loss": None, "rtcp_received": 1}, "pass", "150"),
        ({"reported_loss": None, "rtcp_received": 1, "report_after": 0.9}, "pass", "150"),
        ({"reported_loss": None, "rtcp_received": 1, "report_after": 1.1}, "warn", ONE_REPORT),
        ({"rtcp_received": 1, "report_after": 1.1}, "pass", "150"),
    ],
)
def test_whether_media_flows_both_ways(status_of, healthy, changes, status, words):
    found, finding = status_of(packets.media_both_ways, healthy, **changes)
    assert found == status
    assert words in finding.detail


@pytest.mark.parametrize(
    ("offered", "answered", "here", "status", "words"),
    [
        ("sendrecv", "inactive", True, "warn", "answers sendrecv with inactive: no audio flows"),
        ("sendrecv", "recvonly", True, "warn", "it sends no audio"),
        ("sendrecv", "sendonly", True, "warn", "it takes no audio"),
        ("sendonly", "recvonly", True, "skip", "the direction is inactive"),
        ("sendrecv", "recvonly", False, "skip", "the direction is inactive"),
    ],
    ids=["inactive", "recvonly", "sendonly", "held here", "answered here"],
)
def test_a_peer_that_restricts_the_direction_is_named(
    status_of, healthy, audio, offered, answered, here, status, words
):
    found, finding = status_of(
        packets.media_both_ways,
        healthy,
        direction="inactive",
        offer=replace(audio, direction=offered),
        answer=replace(audio, direction=answered),
        offered_here=here,
    )
    assert found == status
    assert words in finding.detail


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "skip"),
        ({"level_dbov": -20.0, "level_packets": 6}, "pass"),
        ({"level_dbov": -127.0, "level_packets": 6}, "fail"),
        ({"level_dbov": -127.0, "level_packets": 5}, "skip"),
        ({"level_dbov": -60.0, "level_packets": 6}, "warn"),
        ({"level_dbov": -127.0, "level_packets": 6, "packets_received": 0}, "skip"),
    ],
)
def test_whether_there_is_sound(status_of, healthy, changes, status):
    assert status_of(packets.audio_not_silent, healthy, **changes)[0] == status
