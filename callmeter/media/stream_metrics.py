"""The figures of one stream by catalogue key, send and receive apart: for report and snapshot.

What became of the packets sent is the peer's word, in its RTCP reports.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from callmeter.media.extended_reports import voip_values
from callmeter.media.rating import receive_rating
from callmeter.metrics.quality import mos_of, r_factor_of

if TYPE_CHECKING:
    from callmeter.media.statistics import StreamStatistics
    from callmeter.metrics.burst_gap import BurstGap
    from callmeter.metrics.quality import Speech
    from callmeter.rtp.feedback import FeedbackCounts

    Value = int | float | str | None
    Values = dict[str, Value]

__all__ = ["audio_path", "receive_metrics", "send_metrics"]


def send_metrics(statistics: StreamStatistics) -> dict[str, Value]:
    """Of the stream that was sent."""
    loss, jitter = statistics.reported_fraction_lost, statistics.reported_jitter_ms
    rating = None
    speech = statistics.sent_speech
    if speech is not None and loss is not None and jitter is not None:
        rating = r_factor_of(speech, loss_percent=loss, jitter_ms=jitter, rtt_ms=statistics.rtt_ms)
    return (
        dict(statistics.send.metrics())
        | {
            "audio_packetization_ms": _ptime(speech),
            "rtt_ms": statistics.rtt_ms,
            "packets_lost": statistics.reported_packets_lost,
            "fraction_lost": loss,
            "jitter_ms": jitter,
            "rtcp_sr_rr_interval_ms": statistics.rtcp_sr_rr_interval_ms,
            "rtcp_packets_sent": statistics.rtcp_packets_sent,
            "srtp_protect_failures": statistics.srtp_protect_failures,
            "late_ticks": statistics.late_ticks,
        }
        | _scores(rating)
        | _feedback(statistics.feedback_received)
        | voip_values(statistics.xr.remote, statistics.xr.received)
        | dict(statistics.send_measures)
    )


def receive_metrics(statistics: StreamStatistics) -> dict[str, Value]:
    """Of the stream that was received."""
    buffer, levels = statistics.jitter_buffer, statistics.levels
    return (
        dict(statistics.receive.metrics())
        | {
            "audio_packetization_ms": _ptime(statistics.speech),
            "rtt_ms": statistics.rtt_ms,
            "clock_drift_estimate": statistics.clock_drift_ppm,
            "clock_skew_estimate": statistics.clock_skew_ppm,
            "srtp_decrypt_failures": statistics.srtp_decrypt_failures,
            "srtp_replayed": statistics.srtp_replayed,
            "srtp_old_key_packets": statistics.srtp_old_key_packets,
            "srtp_early_packets": statistics.srtp_early_packets,
            "srtp_roc_kept": statistics.srtp_roc_kept,
            "srtp_roc_resets": statistics.srtp_roc_resets,
            "rtcp_sr_rr_interval_ms": statistics.rtcp_sr_rr_interval_ms,
            "rtcp_packets_received": statistics.rtcp_packets_received,
            "socket_overflows": statistics.socket_overflows,
            "audio_level_rms": levels.mean,
            "signal_level": levels.signal,
            "noise_level": levels.noise,
            "speech_share": levels.speech_share,
            "comfort_noise_packets": statistics.comfort_noise_packets,
            "xr_rtt_ms": statistics.xr.rtt_ms,
        }
        | _scores(receive_rating(statistics))
        | _bursts(statistics.bursts)
        | _feedback(statistics.feedback_sent)
        | voip_values(statistics.xr.told, statistics.xr.sent)
        | ({} if buffer is None else dict(buffer.metrics()))
        | _decoding(statistics)
        | dict(statistics.receive_measures)
    )


SILENT_DBOV: Final = -50.0
"""Nobody hears what is below."""


def audio_path(statistics: StreamStatistics) -> str:
    """Which way packets went: both, send, receive or none; silent when nothing was to be heard."""
    sent = statistics.send.packets_sent > 0
    received = statistics.receive.packets_received > 0
    if sent and received:
        level = statistics.levels.mean
        return "silent" if level is not None and level < SILENT_DBOV else "both"
    if sent:
        return "send"
    return "receive" if received else "none"


def _ptime(speech: Speech | None) -> float | None:
    return None if speech is None else speech.ptime_ms


def _scores(rating: float | None) -> Values:
    return {"r_factor": rating, "mos": None if rating is None else mos_of(rating)}


def _bursts(bursts: BurstGap | None) -> Values:
    if bursts is None or not bursts.burst_packets + bursts.gap_packets:
        return {}
    return {
        "burst_density": bursts.burst_density,
        "gap_density": bursts.gap_density,
        "burst_duration": bursts.burst_duration,
        "gap_duration": bursts.gap_duration if bursts.bursts else None,
    }


def _decoding(statistics: StreamStatistics) -> Values:
    """What a decoder had to make up; nothing while nobody listens."""
    found, begun = statistics.decoding, statistics.first_packet_at
    if found is None or begun is None or statistics.sampled_at <= begun:
        return {}
    seconds = statistics.sampled_at - begun
    values: Values = {
        "plc_events": found.plc_events / seconds,
        "plc_duration_ms": found.plc_duration_ms / seconds,
    }
    if found.codec.upper() == "OPUS":
        packets = found.packets + found.lost_packets
        values |= {
            "opus_packet_loss": found.lost_packets / packets * 100 if packets else None,
            "opus_decoder_gain": found.decoder_gain_db,
            "opus_last_packet_duration_ms": found.last_packet_ms,
        }
    return values


def _feedback(counts: FeedbackCounts) -> Values:
    """What was said about a stream: by its receiver, whichever side that is."""
    return {f"{name}_count": value for name, value in asdict(counts).items()}
