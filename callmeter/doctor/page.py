"""A check-up as one self-contained page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from callmeter.metrics.report import FindingStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from callmeter.doctor.findings import Checkup
    from callmeter.metrics.report import CallReport, Finding

__all__ = ["checkup_page"]

WORDS: Final = {
    FindingStatus.PASS: "passed",
    FindingStatus.WARN: "warning",
    FindingStatus.FAIL: "failed",
    FindingStatus.SKIP: "not checked",
}
STYLE: Final = """
:root{color-scheme:light dark;--page:#fff;--text:#1c2430;--soft:#5b6675;--line:#d9dee6;
--pass:#14713d;--warn:#8a5a00;--fail:#b3261e;--skip:#5b6675}
@media (prefers-color-scheme:dark){:root{--page:#12161c;--text:#e6eaf0;--soft:#9aa6b5;
--line:#2c3440;--pass:#5fce8f;--warn:#e6b450;--fail:#ff8a80;--skip:#9aa6b5}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:52rem;padding:2rem 1rem;background:var(--page);color:var(--text);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0 0 .25rem;overflow-wrap:anywhere}
.verdict{font-size:1.1rem;margin:0 0 1.5rem}
ol{list-style:none;margin:0;padding:0}
li{border-top:1px solid var(--line);padding:.75rem 0;display:grid;gap:0 1rem;
grid-template-columns:6.5rem 1fr}
.status{font-weight:600}
.pass{color:var(--pass)}.warn{color:var(--warn)}.fail{color:var(--fail)}.skip{color:var(--skip)}
.check{font-weight:600}
.detail,.remedy{grid-column:2;margin:.15rem 0 0;overflow-wrap:anywhere}
.remedy::before{content:"\\2192\\00a0"}
.skip~.detail{color:var(--soft)}
details{border-top:1px solid var(--line);padding:.75rem 0}
summary{cursor:pointer;font-weight:600}
pre{overflow-x:auto;font-size:.85rem;line-height:1.4}
@media (max-width:30rem){li{grid-template-columns:1fr}.detail,.remedy{grid-column:1}}
"""


def checkup_page(checkup: Checkup) -> str:
    """The page: every check in its order, then the report of each call."""
    failures = sum(finding.status is FindingStatus.FAIL for finding in checkup.findings)
    verdict = (
        f"{failures} of {len(checkup.findings)} checks failed." if failures else ("Nothing failed.")
    )
    title = f"Check-up of {escape(checkup.target)}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        (
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        ),
        f"<title>{title}</title><style>{STYLE}</style></head>",
        f'<body><main><h1>{title}</h1><p class="verdict">{verdict}</p><ol>',
        *map(_row, checkup.findings),
        "</ol>",
        *_calls(checkup.reports.items()),
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _row(finding: Finding) -> str:
    status = finding.status.value
    remedy = ""
    if finding.remedy and finding.status is not FindingStatus.PASS:
        remedy = f'<p class="remedy">{escape(finding.remedy)}</p>'
    return (
        f'<li><span class="status {status}">{WORDS[finding.status]}</span>'
        f'<span class="check">{escape(finding.check)}</span>'
        f'<p class="detail">{escape(finding.detail)}</p>{remedy}</li>'
    )


def _calls(reports: Iterable[tuple[str, CallReport]]) -> Iterator[str]:
    for name, report in reports:
        text = escape(str(report))
        yield f"<details><summary>{escape(name)}</summary><pre>{text}</pre></details>"
