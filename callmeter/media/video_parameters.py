"""What offer and answer agreed on for video, as the media engine needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from callmeter.errors import ConfigurationError
from callmeter.media.parameters import RtpParameters
from callmeter.rtp.video import CLOCK_RATE

__all__ = ["VideoFormat", "VideoParameters"]


class VideoFormat(NamedTuple):
    """One way to send.

    Attributes:
        codec: `"VP8"` or `"H264"`.
        payload_type: Its number.
        packetization_mode: Of H.264 (RFC 6184 section 6).
    """

    codec: str
    payload_type: int
    packetization_mode: int = 1


@dataclass(frozen=True, kw_only=True)
class VideoParameters(RtpParameters):
    """One negotiated video stream.

    Attributes:
        formats: What may be sent, in the order of preference; the first is `codec`.

    Raises:
        ConfigurationError: A value that cannot be sent.
    """

    clock_rate: int = CLOCK_RATE
    formats: tuple[VideoFormat, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.formats:
            only = VideoFormat(self.codec, self.payload_type)
            object.__setattr__(self, "formats", (only,))
        if any(item.codec not in {"VP8", "H264"} for item in self.formats):
            raise ConfigurationError("video is VP8 or H264")

    def format_of(self, codec: str) -> VideoFormat | None:
        """The first way to send a codec, or None."""
        return next((item for item in self.formats if item.codec == codec), None)
