"""The page of a check-up."""

from __future__ import annotations

from callmeter.doctor.findings import Checkup
from callmeter.metrics.phases import Outcome, Phase
from callmeter.metrics.report import CallReport, Finding, FindingStatus

PASS, WARN, FAIL, SKIP = FindingStatus


def checkup(*findings):
    reports = {"call none": CallReport(phase=Phase.CLOSED, outcome=Outcome.SUCCESS)}
    return Checkup(target="sip:<b>@example.com", findings=findings, reports=reports)


def test_the_page_shows_each_check_and_trusts_nobody():
    page = checkup(
        Finding("a", PASS, "<script>alert(1)</script>", "Unsaid."),
        Finding("b", FAIL, "bad", "Mend & <i>try</i>."),
        Finding("c", SKIP, "why"),
    ).to_html()
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "Mend &amp; &lt;i&gt;try" in page
    assert "Unsaid." not in page
    assert "1 of 3 checks failed." in page
    assert "default-src 'none'" in page
    assert "Nothing failed." in checkup(Finding("a", PASS)).to_html()
