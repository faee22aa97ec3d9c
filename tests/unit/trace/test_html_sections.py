from __future__ import annotations

import pytest

from callmeter.metrics.phases import Phase
from callmeter.metrics.report import (
    CallReport,
    Finding,
    FindingStatus,
    Keying,
    SignalingReport,
    StreamReport,
    TlsReport,
)
from callmeter.metrics.signaling import CallTiming
from callmeter.trace.html_sections import (
    counters_markup,
    diagnosis_markup,
    grade_mark,
    metrics_markup,
    resolution_markup,
    signaling_markup,
    stream_markup,
    timing_markup,
)


def test_what_is_wrong_comes_first_and_what_was_skipped_is_folded(page):
    findings = (
        Finding("tls_configured", FindingStatus.SKIP, "no TLS"),
        Finding("srtp_negotiated", FindingStatus.PASS, "SDES"),
        Finding("tls_verified", FindingStatus.WARN, "nobody looked", "give the CA"),
        Finding("media_both_ways", FindingStatus.FAIL, "nothing came", "open the port"),
    )
    found = page(diagnosis_markup(CallReport(phase=Phase.CLOSED, diagnosis=findings)))
    order = [found.text.index(word) for word in ("Nothing came", "Nobody", "SDES", "no TLS")]
    assert order == sorted(order)
    assert "What to do: open the port" in found.text
    passed, skipped = found.of("details")
    assert "open" in passed
    assert "open" not in skipped


def test_a_report_without_findings_says_so(page):
    assert page(diagnosis_markup(CallReport(phase=Phase.CALLING))).text == "Nothing was checked."


@pytest.mark.parametrize(
    ("signaling", "said"),
    [
        (SignalingReport(transport="UDP"), "Not encrypted"),
        (SignalingReport(), "Nothing was sent"),
        (
            SignalingReport(
                transport="TLS", tls=TlsReport(version="TLSv1.3", cipher="X", verified=True)
            ),
            "Encrypted, certificate verified",
        ),
        (
            SignalingReport(
                transport="TLS", tls=TlsReport(version="TLSv1.3", cipher="X", verified=False)
            ),
            "Encrypted, certificate not verified",
        ),
        (
            SignalingReport(
                transport="TLS",
                tls=TlsReport(version="TLSv1.3", cipher="X", verified=False, certificate=False),
            ),
            "Encrypted, the peer showed no certificate",
        ),
    ],
)
def test_the_signalling_is_said_to_be_secure_or_not(page, signaling, said):
    assert said in page(signaling_markup(signaling)).text


def test_what_was_negotiated_of_a_stream(page):
    stream = StreamReport(
        codec="PCMU", keying=Keying.DTLS, suite="X", rtcp_mux=True, feedback=True, ice=True
    )
    text = page(stream_markup(stream)).text
    for said in ("Encrypted: DTLS-SRTP with X", "on the RTP port", "AVPF", "used", "PCMU"):
        assert said in text
    assert "Not encrypted: plain RTP" in page(stream_markup(StreamReport())).text


def test_the_questions_to_the_dns(page):
    asked = [
        {"name": "example.com", "type": "NAPTR", "answers": ["10 10 s SIPS+D2T"]},
        {"name": "_sip._udp.example.com", "type": "SRV", "answers": []},
    ]
    text = page(resolution_markup({"asked": asked})).text
    assert "10 10 s SIPS+D2T" in text
    assert "no record" in text


@pytest.mark.parametrize("resolution", [None, {}, {"asked": []}, {"asked": None}])
def test_nothing_is_shown_where_no_question_was_asked(resolution):
    assert resolution_markup(resolution) == ""


def test_milestones_have_their_times(page):
    timing = CallTiming(time_to_trying_ms=5.0, call_setup_time_ms=812.0)
    text = page(timing_markup(CallReport(phase=Phase.CLOSED, timing=timing))).text
    assert "Trying" in text
    assert "812.0 ms" in text
    assert "Ringing" not in text
    nothing = page(timing_markup(CallReport(phase=Phase.CALLING))).text
    assert nothing == "It did not get so far."


def test_every_metric_with_a_value_has_a_row_with_its_limits(page):
    stream = StreamReport(
        send={"packets_sent": 1500, "jitter_ms": 1.0},
        receive={"jitter_ms": 45.2, "reason": "none", "of_my_own": 3},
    )
    found = page(metrics_markup(stream))
    assert len(found.of("tr")) == 1 + 4
    assert "good up to 20, bad above 40 ms" in found.text
    assert "Of my own" in found.text


def test_what_both_sides_have_is_one_row(page):
    stream = StreamReport(
        send={"packets_sent": 1500, "bytes_sent_rate_bps": 64e3, "packets_lost": 0},
        receive={"packets_received": 1450, "bytes_recv_rate_bps": 63e3, "packets_lost": 0},
    )
    found = page(metrics_markup(stream))
    assert "Packets RTP packets. 1,500 1,450" in found.text
    assert "Bit rate Payload bits a second. 64.0 kbit/s 63.0 kbit/s" in found.text
    assert "1 more that are zero" in found.text


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("jitter_ms", 3.0, "good"),
        ("jitter_ms", 30.0, "warn"),
        ("jitter_ms", 50.0, "bad"),
        ("jitter_ms", None, ""),
        ("packets_sent", 3, ""),
        ("of_my_own", 3, ""),
        ("jitter_ms", "much", ""),
    ],
)
def test_a_grade_is_a_word_and_not_a_colour_alone(page, key, value, word):
    assert page(grade_mark(key, value)).text == word


def test_counters_of_the_call(page):
    text = page(counters_markup(CallReport(phase=Phase.CLOSED, counters={"hold_count": 3}))).text
    assert "Hold count" in text
    assert "DTLS rehandshakes" in text
