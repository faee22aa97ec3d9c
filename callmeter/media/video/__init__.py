"""Video: encoded frames from files and a test pattern, into files, and decoded on demand.

The packet lane moves payloads and looks into them no further than `callmeter.rtp.vp8` and
`callmeter.rtp.h264` do; nothing is encoded or decoded while a call runs.
"""

from __future__ import annotations

from callmeter.media.video.files import AnnexBFile, AnnexBRecorder, IvfFile, IvfRecorder
from callmeter.media.video.frames import Discard, EncodedFrame, VideoSink, VideoSource
from callmeter.media.video.pattern import TestPattern
from callmeter.media.video.pictures import decode, mean_luma

__all__ = [
    "AnnexBFile",
    "AnnexBRecorder",
    "Discard",
    "EncodedFrame",
    "IvfFile",
    "IvfRecorder",
    "TestPattern",
    "VideoSink",
    "VideoSource",
    "decode",
    "mean_luma",
]
