"""What errors, locations and calls become in a check-up."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from callmeter.config import Transport
from callmeter.doctor.findings import Checkup, call_finding, failed, location_finding
from callmeter.errors import (
    CallRejected,
    CallTimedOut,
    DtlsTimeout,
    FingerprintMismatch,
    NoCommonCodec,
    NoCommonSuite,
    SrtpRequired,
    TlsError,
)
from callmeter.metrics.phases import Outcome, Phase
from callmeter.metrics.report import (
    CallReport,
    ErrorReport,
    Finding,
    FindingStatus,
    Keying,
    StreamReport,
)
from callmeter.metrics.signaling import CallTiming

PASS, WARN, FAIL, SKIP = FindingStatus


def place(*targets, fell_back=False):
    found = tuple(
        SimpleNamespace(transport=transport, address=address, port=port)
        for transport, address, port in targets
    )
    return SimpleNamespace(domain="example.com", targets=found, fell_back=fell_back)


def report(**fields):
    return CallReport(phase=Phase.CLOSED, **{"outcome": Outcome.SUCCESS} | fields)


def test_a_location_names_its_first_three_targets():
    udp = [(Transport.UDP, f"192.0.2.{last}", 5060) for last in range(1, 6)]
    assert location_finding(place(*udp)).detail == (
        "example.com: UDP 192.0.2.1 port 5060, UDP 192.0.2.2 port 5060, "
        "UDP 192.0.2.3 port 5060 and 2 more"
    )
    assert location_finding(place(udp[0])).status is PASS


def test_a_domain_without_records_of_its_own_is_a_warning():
    finding = location_finding(place((Transport.UDP, "192.0.2.1", 5060), fell_back=True))
    assert finding.status is WARN
    assert "neither NAPTR nor SRV" in finding.detail
    assert "Add NAPTR" in finding.remedy


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (TlsError("x", kind="expired"), "Renew"),
        (TlsError("x", kind="handshake"), "versions and ciphers"),
        (CallRejected(404, "Not Found"), "no such number"),
        (CallRejected(599, "Odd"), "far end"),
        (CallTimedOut("x", timer="B"), "firewall"),
        (NoCommonCodec("x"), "PCMU"),
        (FingerprintMismatch("x"), "in the peer's place"),
        (SrtpRequired("x"), ""),
    ],
)
def test_an_error_comes_with_its_remedy(error, remedy):
    finding = failed("check", error)
    assert (finding.check, finding.status, finding.detail) == ("check", FAIL, str(error))
    assert remedy in finding.remedy
    assert bool(remedy) == bool(finding.remedy)


def test_a_remedy_that_is_given_stands():
    assert failed("check", CallTimedOut("x", timer="B"), "Wait.").remedy == "Wait."


def test_a_good_call_tells_codec_suite_packets_and_set_up():
    stream = StreamReport(
        codec="PCMU", keying=Keying.SDES, suite="S", receive={"packets_received": 99}
    )
    timing = CallTiming(call_setup_time_ms=25.0)
    finding = call_finding("call sdes", report(media=(stream,), timing=timing), None)
    assert finding.status is PASS
    assert finding.detail == "PCMU, S, 99 packets received, answered after 25 ms"


def test_a_call_without_keys_says_so():
    stream = StreamReport(codec="PCMU")
    detail = call_finding("call none", report(media=(stream,)), None).detail
    assert detail == "PCMU, no encryption, 0 packets received"


def test_the_worst_finding_of_the_diagnosis_is_that_of_the_call():
    found = (
        Finding("fine", PASS),
        Finding("odd", WARN, "a bit"),
        Finding("port_reachable", FAIL, "nothing came", "Open it."),
    )
    finding = call_finding("call none", report(diagnosis=found), None)
    assert finding == Finding("call none", FAIL, "port_reachable: nothing came", "Open it.")
    finding = call_finding("call none", report(diagnosis=found[:2]), None)
    assert (finding.status, finding.detail) == (WARN, "odd: a bit")


def test_an_error_goes_before_the_diagnosis_but_for_keys():
    found = (Finding("dtls_reachable", FAIL, "no answer to 5 ClientHellos", "Open UDP."),)
    refused = call_finding("call dtls", report(diagnosis=found), CallRejected(486, "Busy Here"))
    assert refused.detail == "486 Busy Here"
    silent = call_finding("call dtls", report(diagnosis=found), DtlsTimeout("late"))
    assert silent.detail.startswith("dtls_reachable: ")
    assert call_finding("call dtls", report(), DtlsTimeout("late")).detail == "late"


def test_a_check_that_quotes_the_error_has_its_remedy():
    error = NoCommonSuite("488 Not Acceptable Here: warning 302 the offer has no a=crypto line")
    found = (
        Finding("message_fits_udp", WARN, "1400 octets", "Use TCP."),
        Finding("suites_compatible", FAIL, f"{error} (offered A)", "Offer SDES."),
    )
    finding = call_finding("call dtls", report(diagnosis=found), error)
    assert finding == Finding("call dtls", FAIL, str(error), "Offer SDES.")
    assert "SRTP at all" in call_finding("call dtls", report(), error).remedy


GUESS = NoCommonSuite("488 Not Acceptable Here: the peer takes none of the suites offered")
REFUSED = Finding("suites_compatible", FAIL, "488 Not Acceptable Here, to an offer", "Offer SDES.")


def test_a_refused_offer_of_dtls_has_the_words_of_the_diagnosis_and_not_of_the_guess():
    found = (Finding("message_fits_udp", WARN, "1400 octets", "Use TCP."), REFUSED)
    finding = call_finding("call dual", report(diagnosis=found), GUESS)
    assert finding == Finding("call dual", FAIL, REFUSED.detail, "Offer SDES.")


def test_suites_that_an_sdes_call_was_answered_with_are_not_blamed():
    finding = call_finding("call dual", report(diagnosis=(REFUSED,)), GUESS, sdes_answered=True)
    assert finding.detail == f"{REFUSED.detail}; SDES with the same suites was answered"
    assert "only as DTLS" in finding.remedy
    assert "suites" not in finding.remedy
    other = replace(REFUSED, detail=f"{GUESS} (offered A)")
    finding = call_finding("call dual", report(diagnosis=(other,)), GUESS, sdes_answered=True)
    assert finding == Finding("call dual", FAIL, str(GUESS), "Offer SDES.")


def test_sip_in_clear_hides_no_other_warning_of_a_call():
    clear = Finding("tls_configured", WARN, "UDP shows the SRTP keys", "Use TLS.")
    found = (clear, Finding("odd", WARN, "a bit"))
    assert call_finding("call sdes", report(diagnosis=found), None).detail == "odd: a bit"
    alone = call_finding("call sdes", report(diagnosis=(clear,)), None)
    assert (alone.status, alone.remedy) == (WARN, "Use TLS.")
    no_tls = Finding("tls_configured", FAIL, "not TLS", "Use TCP.")
    first = call_finding("call sdes", report(diagnosis=(no_tls, REFUSED)), None)
    assert first.remedy == "Offer SDES."


def test_a_call_that_ended_badly_or_without_media_failed():
    gone = report(outcome=Outcome.CALL_FAILED, error=ErrorReport("FlowLost", "reset"))
    assert call_finding("call none", gone, None).detail == "the call ended as CALL_FAILED: reset"
    assert "ended as TIMEOUT" in call_finding("c", report(outcome=Outcome.TIMEOUT), None).detail
    assert "without media" in call_finding("c", report(), None).detail


def checkup(*findings):
    return Checkup(target="sip:<b>@example.com", findings=findings, reports={"call none": report()})


def test_a_checkup_is_healthy_unless_a_check_failed():
    assert checkup(Finding("a", PASS), Finding("b", WARN), Finding("c", SKIP)).healthy
    assert not checkup(Finding("a", PASS), Finding("b", FAIL)).healthy


def test_a_checkup_reads_well_and_is_ready_for_json():
    both = checkup(Finding("a", PASS, "good", "Unsaid."), Finding("b", FAIL, "bad", "Mend it."))
    assert str(both).splitlines() == [
        "PASS  a            good",
        "FAIL  b            bad",
        "                   -> Mend it.",
    ]
    told = both.to_dict()
    assert told["healthy"] is False
    assert told["checks"][1]["remedy"] == "Mend it."
    assert told["calls"]["call none"]["outcome"] == "SUCCESS"
