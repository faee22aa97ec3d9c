"""How values are graded."""

from __future__ import annotations

import pytest

from callmeter.metrics.metric import Direction, Grade, Kind, Metric, Scope, Thresholds


@pytest.mark.parametrize(
    ("value", "grade"), [(4.2, Grade.GOOD), (3.0, Grade.WARNING), (2.4, Grade.CRITICAL)]
)
def test_an_inverted_metric_is_worse_when_lower(value, grade):
    mos = Metric(
        key="mos",
        unit="",
        kind=Kind.GAUGE,
        direction=Direction.BOTH,
        scope=Scope.STREAM,
        rfc="ITU-T G.107",
        description="Mean opinion score.",
        thresholds=Thresholds(3.5, 2.5),
        inverted=True,
    )
    assert mos.grade(value) is grade
