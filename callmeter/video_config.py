"""Settings of video; see `callmeter.config`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from callmeter.errors import ConfigurationError
from callmeter.setting_types import check_types
from callmeter.track_settings import check_dscp, check_feedback, read_codecs

__all__ = ["VideoCodec", "VideoConfig"]


class VideoCodec(StrEnum):
    """Video that can be sent and received; it is neither encoded nor decoded on the way."""

    VP8 = "VP8"
    """RFC 7741."""
    H264 = "H264"
    """RFC 6184, constrained baseline profile, packetization modes 1 and 0."""

    @classmethod
    def _missing_(cls, value: object) -> VideoCodec | None:
        return cls.__members__.get(str(value).upper().replace("H.264", "H264"))


@dataclass(frozen=True, kw_only=True)
class VideoConfig:
    """The video of calls: `MediaConfig(video=VideoConfig())`.

    It has an m= line, ports and keys of its own; what `MediaConfig` says of SRTP, ICE, ports and
    RTCP multiplexing goes for it as well.

    Attributes:
        codecs: What is offered, in order of preference.
        bandwidth: What is taken at most, in kbit/s with all headers (`b=AS`). RTCP gets five
            percent of it, so a low value makes reports rare.
        dscp: DiffServ code point of its packets: 34 is AF41, the usual one of video calls
            (RFC 4594). None leaves packets unmarked.
        feedback: Offer AVPF (RFC 4585), which asking for lost packets and key frames needs.
        feedback_messages: What is asked for and answered under AVPF, as the words of a=rtcp-fb.

    Raises:
        ConfigurationError: A value that cannot work.
    """

    codecs: tuple[VideoCodec | str, ...] = (VideoCodec.VP8, VideoCodec.H264)
    bandwidth: int = 1_000
    dscp: int | None = 34
    feedback: bool = True
    feedback_messages: tuple[str, ...] = ("nack", "nack pli", "ccm fir")

    def __post_init__(self) -> None:
        check_types(self)
        read_codecs(self, VideoCodec, "video codec")
        check_dscp(self.dscp)
        check_feedback(self.feedback_messages)
        if self.bandwidth < 1:
            raise ConfigurationError("bandwidth is at least 1 kbit/s")
