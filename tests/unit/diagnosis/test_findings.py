"""What a check makes of a verdict."""

from __future__ import annotations

import pytest

from callmeter.diagnosis import CallEvidence
from callmeter.diagnosis.findings import check, fails, passes, skips, warns
from callmeter.metrics.report import Finding, FindingStatus


@pytest.mark.parametrize(
    ("verdict", "status", "remedy"),
    [
        (passes("seen"), FindingStatus.PASS, ""),
        (skips("seen"), FindingStatus.SKIP, ""),
        (warns("seen"), FindingStatus.WARN, "mend it"),
        (fails("seen"), FindingStatus.FAIL, "mend it"),
        (warns("seen", "otherwise"), FindingStatus.WARN, "otherwise"),
        (fails("seen", "otherwise"), FindingStatus.FAIL, "otherwise"),
    ],
)
def test_only_what_is_bad_has_a_remedy(verdict, status, remedy):
    @check("Is it well?", "mend it")
    def wellness(_):
        return verdict

    assert wellness(CallEvidence()) == Finding("wellness", status, "seen", remedy)
    assert wellness.question == "Is it well?"
