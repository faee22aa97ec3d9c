from __future__ import annotations

import pytest

from callmeter.errors import SdpSyntaxError
from callmeter.sdp.ice import (
    ICE_SESSION_ATTRIBUTES,
    MAX_CANDIDATES,
    Candidate,
    IceDescription,
    host_candidate,
)
from callmeter.sdp.parser import parse_description
from callmeter.sdp.remote_track import read_tracks

UFRAG = "a=ice-ufrag:8hhY"
PASSWORD = "asd88fgpdd777uzjYhagZg"
PWD = f"a=ice-pwd:{PASSWORD}"
HOST = "1 1 UDP 2130706431 203.0.113.141 8998 typ host"
CHROMIUM = [
    "a=candidate:32181 1 udp 2113937151 6e1f2a.local 50733 typ host generation 0 network-cost 999",
    "a=candidate:842163049 1 udp 1677729535 198.51.100.7 50733 typ srflx raddr 0.0.0.0 rport 0",
]


def read(*media, session=()):
    lines = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0", *session]
    lines += ["m=audio 4000 RTP/AVP 0", *media]
    return read_tracks(parse_description("".join(f"{line}\r\n" for line in lines).encode()))[0]


@pytest.mark.parametrize(
    "text",
    [
        HOST.replace("UDP", "udp"),
        "2 1 udp 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998",
        "1 2 tcp 0 2001:db8::1 9 typ host tcptype active",
    ],
)
def test_a_candidate_is_written_as_it_was_read(text):
    assert str(Candidate.parse(text)) == text


def test_names_in_a_candidate_compare_without_case():
    candidate = Candidate.parse("1 1 UDP 1 192.0.2.1 2 TYP Host")
    assert (candidate.transport, candidate.kind) == ("udp", "host")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 1 UDP 2130706431 203.0.113.141 8998",
        "1 1 UDP 2130706431 203.0.113.141 8998 typ",
        "1 1 UDP 2130706431 203.0.113.141 8998 is host",
        "1 0 UDP 2130706431 203.0.113.141 8998 typ host",
        "1 257 UDP 2130706431 203.0.113.141 8998 typ host",
        "1 1 UDP 2147483648 203.0.113.141 8998 typ host",
        "1 1 UDP 1 203.0.113.141 65536 typ host",
        "1! 1 UDP 1 203.0.113.141 1 typ host",
        f"{'1' * 33} 1 UDP 1 203.0.113.141 1 typ host",
    ],
)
def test_what_is_no_candidate_is_refused(text):
    with pytest.raises(SdpSyntaxError, match="a=candidate"):
        Candidate.parse(text)


def test_the_only_candidate_of_an_address_has_the_highest_priority_of_a_host():
    assert str(host_candidate(1, "192.0.2.1", 4000)) == (
        "1 1 udp 2130706431 192.0.2.1 4000 typ host"
    )
    assert host_candidate(2, "192.0.2.1", 4001).priority == 2130706430


def test_a_lite_agent_says_so_and_that_it_knows_rfc_8445():
    assert [str(each) for each in ICE_SESSION_ATTRIBUTES] == ["ice-lite", "ice-options:ice2"]


def test_a_description_writes_what_it_reads():
    own = IceDescription("8hhY", PASSWORD, (host_candidate(1, "192.0.2.1", 4000),))
    track = read(*(f"a={each}" for each in own.attributes))
    assert track.ice_description == own
    assert track.ice
    assert track.notes == ()


def test_a_line_without_ice_has_no_description_of_it():
    track = read("a=sendrecv")
    assert track.ice_description is None
    assert not track.ice


def test_credentials_of_the_session_count_for_its_lines():
    track = read(session=(UFRAG, PWD, "a=ice-lite", "a=ice-options:ice2 trickle"))
    assert track.ice_description == IceDescription(
        "8hhY", PASSWORD, lite=True, options=("ice2", "trickle")
    )


def test_credentials_of_the_line_come_first():
    track = read(UFRAG, PWD, session=("a=ice-ufrag:other", "a=ice-pwd:0123456789012345678901"))
    assert track.ice_description == IceDescription("8hhY", PASSWORD)


def test_a_peer_that_found_its_default_changed_says_so():
    assert read(UFRAG, PWD, "a=ice-mismatch").ice_description.mismatch


@pytest.mark.parametrize(
    "lines",
    [
        (UFRAG,),
        (PWD,),
        ("a=ice-ufrag:8hh", PWD),
        ("a=ice-ufrag:8hh!", PWD),
        (UFRAG, "a=ice-pwd:tooshort"),
        (UFRAG, f"a=ice-pwd:{'x' * 257}"),
    ],
)
def test_credentials_that_are_none_are_noted_and_left(lines):
    track = read(*lines)
    assert track.ice_description is None
    assert any("credentials" in note for note in track.notes)


def test_candidates_of_a_browser_are_read_names_and_extensions_included():
    track = read(UFRAG, PWD, *CHROMIUM)
    first, second = track.ice_description.candidates
    assert (first.address, first.kind) == ("6e1f2a.local", "host")
    assert first.extensions == ("generation", "0", "network-cost", "999")
    assert second.extensions == ("raddr", "0.0.0.0", "rport", "0")


def test_a_candidate_that_cannot_be_read_is_dropped_and_noted():
    track = read(UFRAG, PWD, "a=candidate:x", f"a=candidate:{HOST}")
    assert len(track.ice_description.candidates) == 1
    assert any(note.startswith("a=candidate line 1 dropped") for note in track.notes)


def test_candidates_without_end_are_cut_and_noted():
    track = read(UFRAG, PWD, *[f"a=candidate:{HOST}"] * (MAX_CANDIDATES + 1))
    assert len(track.ice_description.candidates) == MAX_CANDIDATES
    assert any("a=candidate lines" in note for note in track.notes)


def test_a_password_is_not_shown():
    assert PASSWORD not in repr(read(UFRAG, PWD))
