from __future__ import annotations

from dataclasses import replace

from callmeter.metrics.phases import Outcome, Phase
from callmeter.metrics.report import (
    CallReport,
    ErrorReport,
    Finding,
    FindingStatus,
    SignalingReport,
    StreamReport,
)
from callmeter.metrics.report_text import report_text
from callmeter.metrics.signaling import CallTiming


def row(text, label):
    (line,) = [line for line in text.splitlines() if line.strip().startswith(label)]
    return line.strip().removeprefix(label).split(maxsplit=0)[0].split("  ")


def words(text, label):
    return " ".join(" ".join(row(text, label)).split())


def test_a_secure_call_is_told_line_by_line(secure_call):
    text = report_text(secure_call)
    assert words(text, "result") == "answered (200), phase CLOSED"
    assert words(text, "signalling") == (
        "TLS 192.0.2.1:5061 -> 192.0.2.2:5061, secure: TLSv1.3 TLS_AES_128_GCM_SHA256, verified"
    )
    assert words(text, "timing") == "trying 0.0 ms, answered 8.9 ms, talk time 30.0 s"
    assert words(text, "audio") == "PCMU sendrecv, 192.0.2.1:40000 <-> 192.0.2.2:40002"
    assert words(text, "security") == (
        "SECURE: SDES AES_CM_128_HMAC_SHA1_80 (RTP/SAVP, RTCP on the RTP port)"
    )
    assert words(text, "counters") == "hold count 1, total hold duration 2500.0 ms, dtmf method rtp"
    assert words(text, "WARN") == "media.silent: no packet for 3 s"
    assert words(text, "->") == "check NAT"
    assert "srtp.negotiated" not in text
    assert "tls.verified" not in text


def test_figures_have_units_and_bad_ones_a_mark(secure_call):
    text = report_text(secure_call)
    assert words(text, "packets") == "1,500 1,450"
    assert words(text, "payload") == "240.0 kB -"
    assert words(text, "bit rate") == "64.0 kbit/s -"
    assert words(text, "packet rate") == "50.0 /s -"
    assert words(text, "loss") == "0.00 % 3.33 % !"
    assert words(text, "jitter") == "- 45.2 ms !!"
    assert words(text, "undecryptable") == "- 2 !"


def test_pictures_have_a_rate_and_a_size(secure_call):
    figures = {"frame_rate_fps": 15, "resolution_megapixels": 0.0768, "frames_received": 50}
    stream = replace(secure_call.media[0], receive={**secure_call.media[0].receive, **figures})
    text = report_text(replace(secure_call, media=(stream,)))
    assert words(text, "frame rate") == "- 15.0 /s"
    assert words(text, "picture") == "- 0.08 MP"
    assert words(text, "frames") == "- 50"


def test_figures_stand_in_columns(secure_call):
    lines = report_text(secure_call).splitlines()
    head = next(line for line in lines if line.split() == ["sent", "received"])
    packets = next(line for line in lines if line.split()[:1] == ["packets"])
    assert len(head) == len(packets)
    assert packets.index("1,500") + 5 == head.index("sent") + 4
    assert max(map(len, lines)) <= 110


def test_what_was_not_measured_or_did_not_happen_has_no_row(secure_call):
    text = report_text(secure_call)
    assert "round trip" not in text
    assert "duplicates" not in text


def test_a_clear_call_says_so_twice():
    text = report_text(
        CallReport(
            phase=Phase.CLOSED,
            outcome=Outcome.SUCCESS,
            signaling=SignalingReport(transport="UDP", local="a:1", remote="b:2"),
            media=(StreamReport(codec="PCMA", receive={"avg_packet_spacing": 20.0}),),
        )
    )
    assert words(text, "signalling") == "UDP a:1 -> b:2, not secure"
    assert words(text, "security") == ("NOT SECURE: plain RTP (RTP/AVP, RTCP on its own port)")
    assert words(text, "spacing, mean") == "20.0 ms"


def test_media_that_came_from_elsewhere_than_the_sdp_says_so(secure_call):
    (stream,) = secure_call.media
    assert "media came from" not in report_text(secure_call)
    for source, told in ((stream.remote, False), ("203.0.113.9:4000", True)):
        moved = replace(secure_call, media=(replace(stream, source=source),))
        assert (f"media came from {source}" in report_text(moved)) is told


def test_a_call_of_which_nothing_was_sent_says_so():
    report = CallReport(phase=Phase.CLOSED, outcome=Outcome.OSERROR)
    assert words(str(report), "signalling") == "nothing was sent"


def test_an_unverified_certificate_is_named(secure_call):
    tls = replace(secure_call.signaling.tls, verified=False)
    report = replace(secure_call, signaling=replace(secure_call.signaling, tls=tls))
    assert "certificate NOT verified" in report_text(report)


def test_a_peer_that_was_asked_for_no_certificate_is_not_blamed_for_it(secure_call):
    tls = replace(secure_call.signaling.tls, verified=False, certificate=False)
    report = replace(secure_call, signaling=replace(secure_call.signaling, tls=tls))
    assert "the peer showed no certificate" in report_text(report)


def test_a_failed_call_names_its_error():
    text = report_text(
        CallReport(
            phase=Phase.CLOSED,
            outcome=Outcome.CALL_FAILED,
            final_status_code=486,
            error=ErrorReport("CallRejected", "486 Busy Here"),
        )
    )
    assert text.splitlines()[0] == "Call: CALL_FAILED"
    assert words(text, "result") == "busy (486), phase CLOSED"
    assert words(text, "error") == "CallRejected: 486 Busy Here"
    assert "timing" not in text
    assert "counters" not in text


def test_a_call_in_progress_says_so():
    text = report_text(CallReport(phase=Phase.RINGING, counters={"of_my_own": 3}))
    assert text.splitlines()[0] == "Call: in progress"
    assert words(text, "result") == "no final response, phase RINGING"
    assert words(text, "counters") == "of my own 3"


def test_each_line_is_trimmed(secure_call):
    assert all(line == line.rstrip() for line in report_text(secure_call).splitlines())


def test_a_finding_is_wrapped_and_its_remedy_stands_below_it(secure_call):
    detail, remedy = "the tag " * 20, "use the other " * 10
    failing = [Finding(check, FindingStatus.FAIL, detail, remedy) for check in ("a", "b")]
    lines = report_text(replace(secure_call, diagnosis=tuple(failing))).splitlines()
    assert lines[0].endswith(", 2 checks failed")
    assert report_text(replace(secure_call, diagnosis=(failing[0],))).count("1 check failed") == 1
    begin = next(number for number, line in enumerate(lines) if line.startswith("  FAIL"))
    found = " ".join(" ".join(lines[begin : begin + 4]).split())
    assert found == " ".join(f"FAIL a: {detail}-> {remedy}".split())
    assert max(map(len, lines[begin:])) <= 100


def test_the_first_media_is_told_from_the_answer_on():
    timing = CallTiming(call_setup_time_ms=526.1, time_to_first_media_ms=0.0)
    text = report_text(CallReport(phase=Phase.CLOSED, timing=timing))
    assert words(text, "timing") == "answered 526.1 ms, first media 0.0 ms later"
