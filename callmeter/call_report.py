"""The report of a call with its messages: what `call.report()` gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from callmeter.metrics import report as measured
from callmeter.trace.html_report import html_report

if TYPE_CHECKING:
    from callmeter.trace.message_log import LoggedMessage

__all__ = ["CallReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport(measured.CallReport):
    """What happened in a call, and what was said.

    It pickles, `to_dict()` is ready for JSON, `str()` is for a terminal, `to_html()` for a browser.

    Attributes:
        phase: How far it got.
        outcome: How it ended; None while it runs.
        final_status_code: The last definitive response to the INVITE, or None.
        error: What ended it, or None.
        signaling: The path of the signalling.
        timing: One-shot timings.
        media: Its streams.
        counters: Counters and per-call values by catalogue key; counters not given are 0.
        diagnosis: What the checks found.
        party: URI of the other party, for people; empty when unknown.
        messages: The SIP messages in order, secrets removed.
    """

    messages: tuple[LoggedMessage, ...] = field(default=(), repr=False)

    def to_html(self) -> str:
        """The report as one page, with all it needs inside: messages, diagnosis, charts.

        It fetches nothing, and is below a megabyte for a call of any length.
        """
        return html_report(self, self.messages)
