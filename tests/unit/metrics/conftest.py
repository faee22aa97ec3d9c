from __future__ import annotations

import pytest

from callmeter.metrics.phases import Outcome, Phase
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


@pytest.fixture(name="secure_call")
def secure_call_report():
    return CallReport(
        phase=Phase.CLOSED,
        outcome=Outcome.SUCCESS,
        final_status_code=200,
        party="sip:bob@example.com",
        signaling=SignalingReport(
            transport="TLS",
            local="192.0.2.1:5061",
            remote="192.0.2.2:5061",
            tls=TlsReport(version="TLSv1.3", cipher="TLS_AES_128_GCM_SHA256", verified=True),
        ),
        timing=CallTiming(time_to_trying_ms=0.0, call_setup_time_ms=8.93216, call_duration_ms=30e3),
        media=(
            StreamReport(
                codec="PCMU",
                profile="RTP/SAVP",
                keying=Keying.SDES,
                suite="AES_CM_128_HMAC_SHA1_80",
                rtcp_mux=True,
                local="192.0.2.1:40000",
                remote="192.0.2.2:40002",
                send={
                    "packets_sent": 1500,
                    "bytes_sent": 240_000,
                    "bytes_sent_rate_bps": 64_000.0,
                    "packets_sent_rate_ps": 50.0,
                    "fraction_lost": 0.0,
                },
                receive={
                    "packets_received": 1450,
                    "fraction_lost": 3.33333,
                    "jitter_ms": 45.21,
                    "duplicate_packets": 0,
                    "srtp_decrypt_failures": 2,
                    "reason_for_silence": "none",
                },
            ),
        ),
        counters={"hold_count": 1, "total_hold_duration_ms": 2500.0, "dtmf_method": "rtp"},
        diagnosis=(
            Finding("srtp.negotiated", FindingStatus.PASS, "SDES"),
            Finding("media.silent", FindingStatus.WARN, "no packet for 3 s", "check NAT"),
            Finding("tls.verified", FindingStatus.SKIP),
        ),
    )
