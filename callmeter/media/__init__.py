"""Media over asyncio: the engine that moves packets, its streams, and what they play and hear."""

from __future__ import annotations

from callmeter.media.analysis import dominant_frequency, level_dbov, recorded_frequency
from callmeter.media.decoding import DecodingStatistics
from callmeter.media.echo import Echo
from callmeter.media.engine import MediaEngine
from callmeter.media.events import (
    AuthenticationFailing,
    DigitReceived,
    FirstPacket,
    MediaEvent,
    PeerLeft,
    ReportReceived,
    Silent,
    SourceChanged,
    SsrcChanged,
)
from callmeter.media.parameters import StreamParameters
from callmeter.media.sinks import AudioSink, Discard, NoiseSink, WavRecorder
from callmeter.media.sources import (
    AudioSource,
    Frames,
    LiveSource,
    PcmSource,
    Silence,
    Tone,
    WavFile,
)
from callmeter.media.statistics import StreamStatistics
from callmeter.media.stream import MediaStream

__all__ = [
    "AudioSink",
    "AudioSource",
    "AuthenticationFailing",
    "DecodingStatistics",
    "DigitReceived",
    "Discard",
    "Echo",
    "FirstPacket",
    "Frames",
    "LiveSource",
    "MediaEngine",
    "MediaEvent",
    "MediaStream",
    "NoiseSink",
    "PcmSource",
    "PeerLeft",
    "ReportReceived",
    "Silence",
    "Silent",
    "SourceChanged",
    "SsrcChanged",
    "StreamParameters",
    "StreamStatistics",
    "Tone",
    "WavFile",
    "WavRecorder",
    "dominant_frequency",
    "level_dbov",
    "recorded_frequency",
]
