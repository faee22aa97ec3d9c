"""Audio: level, speech, what a decoder had to make up."""

from __future__ import annotations

from typing import Final

from callmeter.metrics.sections.row import COUNTER, GAUGE, RECEIVE, stream

__all__ = ["AUDIO"]

AUDIO: Final = (
    stream(
        "audio_level_rms",
        "dBov",
        GAUGE,
        RECEIVE,
        "RFC 6464 section 3",
        "Mean level of what was heard so far; below -50 is silence.",
        verified=False,
    ),
    stream(
        "signal_level",
        "dBov",
        GAUGE,
        RECEIVE,
        "RFC 6464 section 3",
        "Level of speech, by a detector of voice activity.",
        (-40, -50),
        inverted=True,
        verified=False,
    ),
    stream(
        "noise_level",
        "dBov",
        GAUGE,
        RECEIVE,
        "RFC 6464 section 3",
        "Level of the pauses of speech.",
        (-40, -30),
        verified=False,
    ),
    stream(
        "speech_share",
        "%",
        GAUGE,
        RECEIVE,
        "",
        "Share of the measured packets that were speech.",
        verified=False,
    ),
    stream(
        "comfort_noise_packets",
        "packets",
        COUNTER,
        RECEIVE,
        "RFC 3389",
        "Packets of comfort noise.",
        verified=False,
    ),
    stream(
        "plc_events",
        "1/s",
        GAUGE,
        RECEIVE,
        "",
        "How often a second concealment began.",
        verified=False,
    ),
    stream(
        "plc_duration_ms",
        "ms/s",
        GAUGE,
        RECEIVE,
        "",
        "How much of a second was concealed.",
        (50, 150),
        verified=False,
    ),
    stream(
        "opus_packet_loss",
        "%",
        GAUGE,
        RECEIVE,
        "RFC 6716",
        "Share of the packets that the decoder missed.",
        (3, 10),
        verified=False,
    ),
    stream(
        "opus_decoder_gain",
        "dB",
        GAUGE,
        RECEIVE,
        "RFC 7845 section 5.1",
        "Gain of the decoder; 0 is expected.",
        verified=False,
    ),
    stream(
        "opus_last_packet_duration_ms",
        "ms",
        GAUGE,
        RECEIVE,
        "RFC 6716 section 3",
        "Length of the last packet, 2.5 to 120.",
        verified=False,
    ),
)
