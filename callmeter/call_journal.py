"""CallJournal: what is noted of a call and told to its user while it runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from callmeter.call_record import CallRecord
from callmeter.media.events import EventLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from callmeter.events import CallEvent

__all__ = ["CallJournal"]


class CallJournal:
    """The record and the events of one call.

    Args:
        remote: The other party's URI.
        clock: The loop clock.

    Attributes:
        record: What the report is made of.
    """

    def __init__(self, remote: str, clock: Callable[[], float]) -> None:
        self.record = CallRecord(remote)
        self._clock = clock
        self._log: EventLog[CallEvent] = EventLog(asyncio.get_running_loop().create_future)

    @property
    def now(self) -> float:
        """The loop clock."""
        return self._clock()

    def at(self, now: float | None = None) -> float:
        """Seconds since the INVITE; of this moment unless `now` says otherwise."""
        begun = self.record.times.invite_sent_at
        if begun is None:
            return 0.0
        return (self._clock() if now is None else now) - begun

    def tell(self, event: CallEvent) -> None:
        """Something the user of the call may want to know has happened."""
        self._log.append(event)

    def read(self) -> AsyncIterator[CallEvent]:
        """The last 256 events and those to come, until `close`."""
        return self._log.read()

    def close(self) -> None:
        """Nothing more will happen."""
        self._log.close()
