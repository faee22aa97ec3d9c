"""AudioTrack: the m= line of a call's audio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.codec_agreement import (
    codec_name,
    coding_for,
    event_for,
    is_voice,
    noise_number,
    opus_format,
    packet_time,
)
from callmeter.media.codecs import find_codec
from callmeter.media.parameters import StreamParameters
from callmeter.media_track import MediaTrack
from callmeter.sdp.codecs import find_format, formats_for

if TYPE_CHECKING:
    from callmeter.media.stream import MediaStream
    from callmeter.media_agreement import Formats
    from callmeter.sdp.codecs import PayloadFormat
    from callmeter.sdp.remote_track import RemoteTrack

__all__ = ["AudioTrack"]


class AudioTrack(MediaTrack):
    """The codecs, digits and comfort noise of a `MediaTrack`."""

    _stream: MediaStream | None

    def _formats(self) -> Formats:
        config = self.config
        event = config.telephone_event_payload_type if config.telephone_event else None
        return formats_for(
            config.codecs,
            telephone_event_payload_type=event,
            comfort_noise=config.comfort_noise,
            opus=opus_format(config.opus),
        )

    def _carries(self, item: PayloadFormat) -> bool:
        return is_voice(item)

    @property
    def _ptime(self) -> int | None:
        return self.config.ptime

    @property
    def _shares(self) -> bool:
        """Whether the stream goes to the port that calls share."""
        config = self.config
        alone = config.ice or config.capture is not None
        return config.shared_port and self._may_share and not alone

    def _new_stream(self, *, rtcp_mux: bool) -> MediaStream:
        return self._engine.open_stream(
            self._address,
            rtcp_mux=rtcp_mux,
            ports=self.config.ports,
            dscp=self.config.dscp,
            shared=self._shares,
            alone_with=self._alone_with,
        )

    def _begin(self, track: RemoteTrack, formats: Formats, receivable: Formats) -> None:
        voice = next(item for item in formats if is_voice(item))
        wanted = find_format(track.formats, voice) or voice
        event, heard = event_for(formats, voice), event_for(receivable, voice)
        transport = self._transport(track, voice.payload_type)
        self.codec = codec_name(voice)
        self.ptime_ms = packet_time(track, wanted, self.config.ptime)
        first, self._begun = not self._begun, True
        coding = coding_for(wanted, self.config.opus) or find_codec(self.codec)
        self.coding = coding, coding.sample_rate * self.ptime_ms // 1000
        stream = self._stream
        if stream is None:
            return  # The call has ended meanwhile.
        stream.start(
            StreamParameters(
                codec=self.codec,
                payload_type=voice.payload_type,
                receive_payload_types={
                    item.payload_type: codec_name(item) for item in receivable if is_voice(item)
                },
                coding=coding,
                ptime_ms=self.ptime_ms,
                receive_ptime_ms=self.config.ptime,
                clock_rate=voice.clock_rate,
                telephone_event=None if event is None else event.payload_type,
                telephone_event_rate=None if event is None else event.clock_rate,
                receive_telephone_event=None if heard is None else heard.payload_type,
                receive_telephone_events={
                    item.payload_type: item.clock_rate
                    for item in receivable
                    if item.is_telephone_event
                },
                comfort_noise=noise_number(formats, voice) if self.config.comfort_noise else None,
                receive_comfort_noise=noise_number(receivable, voice),
                **transport,
            )
        )
        if first and self.config.jitter_buffer is not None:
            stream.buffer(self.config.jitter_buffer)
