"""MisbehavingEndpoint: an `Endpoint` in all but one thing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from callmeter.endpoint import Endpoint
from callmeter.setting_words import member
from callmeter.testing.misbehaviour.conditions import amount_of, check_conditions
from callmeter.testing.misbehaviour.kinds import Misbehaviour
from callmeter.testing.misbehaviour.messages import MessageFault
from callmeter.testing.misbehaviour.streams import MisbehavingStream

if TYPE_CHECKING:
    from callmeter.config import EndpointConfig
    from callmeter.media.engine import MediaEngine
    from callmeter.media.stream import MediaStream
    from callmeter.sip.message import Request, Response
    from callmeter.stack import Stack

__all__ = ["MisbehavingEndpoint"]


class MisbehavingEndpoint(Endpoint):
    """A user agent that does one thing wrong, in every call it makes or takes.

    Its own diagnosis and report speak of what it meant to do; ask those of the other end. What is
    wrong with packets, handshakes and keys in use is wrong with the audio alone, and the video of
    the same call is well; what is wrong with messages is wrong with every line of them.

    Args:
        config: As for `Endpoint`.
        misbehaviour: What it does wrong; the word will do: `"altered_key"`.
        stack: As for `Endpoint`.
        amount: How much of it, where there is a measure; None takes the usual amount.

    Attributes:
        done: How often it did so: messages altered or lost, datagrams of handshakes lost, streams
            and keys that media were sent by otherwise than agreed, rollover counters reset. While
            it is 0, what was tested is an endpoint that behaves.

    Raises:
        ConfigurationError: There is no such misbehaviour, it has no measure like this, or it cannot
            happen with the keying of `config`.
    """

    def __init__(
        self,
        config: EndpointConfig,
        misbehaviour: Misbehaviour | str,
        stack: Stack | None = None,
        *,
        amount: float | None = None,
    ) -> None:
        kind = member(Misbehaviour, "misbehaviour", misbehaviour)
        measure = amount_of(kind, amount)
        check_conditions(kind, config.media.srtp)
        super().__init__(config, stack)
        self.misbehaviour = kind
        self.amount = measure
        self.done = 0
        self._fault = MessageFault(kind, measure)

    def write(self, message: Request | Response) -> bytes:
        """A message as it goes on the wire, with what is wrong with it."""
        data = self._fault.write(message)
        if data != message.to_bytes():
            self._note()
        return data

    @property
    def media_engine(self) -> MediaEngine:
        """What opens the streams of its calls."""
        make = partial(
            MisbehavingStream, kind=self.misbehaviour, amount=self.amount, note=self._note
        )
        # Negotiation asks an engine for streams, for SRTP sessions and for the time, and no more.
        return cast("MediaEngine", _Openings(super().media_engine, make))

    def _note(self) -> None:
        self.done += 1


class _Openings:
    """An engine whose streams of audio misbehave."""

    def __init__(self, engine: MediaEngine, make: partial[MisbehavingStream]) -> None:
        self._engine = engine
        self._make = make
        self.sessions = engine.sessions
        self.now = engine.now
        self.open_video_stream = engine.open_video_stream

    def open_stream(self, address: str, **settings: Any) -> MediaStream:
        """Bind the ports of a stream, as `MediaEngine.open_stream` does."""
        return self._engine.open_stream(address, **settings, make=self._make)
