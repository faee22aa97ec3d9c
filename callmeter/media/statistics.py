"""What a media stream did, as one frozen snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from callmeter.media.extended_reports import NO_REPORTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from callmeter.jitter_buffer_config import JitterBufferSettings
    from callmeter.media.decoding import DecodingStatistics
    from callmeter.media.extended_reports import ExtendedReportStatistics
    from callmeter.media.levels import LevelStatistics
    from callmeter.metrics.burst_gap import BurstGap
    from callmeter.metrics.quality import Speech
    from callmeter.rtp.feedback import FeedbackCounts
    from callmeter.rtp.jitter_buffer import JitterBufferStatistics
    from callmeter.rtp.reception import ReceptionStatistics, SenderStatistics
    from callmeter.rtp.video_reception import VideoReceptionStatistics
    from callmeter.srtp.trial import FailureCause

    Value = int | float | str | None

__all__ = ["StreamStatistics", "VideoStatistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoStatistics:
    """What only a video stream has, beside its figures of the catalogue.

    Attributes:
        seconds: Since the stream began.
        feedback: What was agreed on as a=rtcp-fb, such as `"nack pli"`.
        reception: The frames of the present source; None before its first packet.
        unanswered_s: How long frames have gone without the key frame the peer asked for.
    """

    seconds: float
    feedback: frozenset[str]
    reception: VideoReceptionStatistics | None
    unanswered_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatistics:
    """A stream at one moment; None means nothing to measure yet.

    Attributes:
        sampled_at: Loop time, seconds.
        send, receive: The RTP figures of the two directions.
        ssrc, remote_ssrc: The own source, and the peer's.
        source: Where media comes from, or was signalled to come from; None before `start`.
        source_locked: Whether that is settled.
        first_packet_at: Loop time of the first accepted packet.
        srtp_decrypt_failures: RTP packets that failed authentication or decryption.
        srtp_replayed: RTP packets that came again, or too late for the replay window.
        srtp_old_key_packets: Packets under the previous key after a rekey.
        srtp_unfollowed: Of these, those since the last rekey; 0 once the new key was seen.
        srtp_early_packets: Packets under a new key that came before it was known, and were kept.
        srtp_roc_kept: New keys under which the peer's rollover counter went on.
        srtp_roc_resets: Changes of the peer's rollover counter under a key that stayed.
        srtp_failure: Why SRTP refuses all that arrives, None while it does not.
        srtp_protect_failures: Packets that could not be protected, and so were not sent.
        payload_octets: Length of an audio payload that was received.
        levels: How loud the received audio is, by about one packet in sixteen.
        comfort_noise_packets: Packets of comfort noise that came (RFC 3389).
        speech: What is received, for the E-model; None for what has no rating.
        sent_speech: What is sent, likewise.
        bursts: How its losses are spread, None before the start.
        burst_ratio: BurstR of ITU-T G.107; 1 is random.
        mean_jitter_ms: Jitter, averaged over the seconds; None before the first.
        clock_drift_ppm: Excess of the peer's media clock over its wall clock, by its reports.
        clock_skew_ppm: Excess of the peer's media clock over the clock here, by arrivals.
        rtt_ms: Round trip by RTCP.
        rtcp_sr_rr_interval_ms: Time between the last two reports of the peer.
        reported_fraction_lost: Loss of our packets by the peer's last report, percent.
        reported_packets_lost: The same, packets in all.
        reported_jitter_ms: Jitter of our packets by the peer's last report.
        report_after_s: From our first packet to the peer's last report, None without one.
        rtcp_packets_sent, rtcp_packets_received: Compound packets.
        feedback_sent, feedback_received: RTCP feedback messages, of those received the ones about
            the own stream.
        rtcp_in_clear: Plain RTCP packets where SRTCP was agreed.
        rtcp_encryption_mismatches: SRTCP packets whose E bit is not what was agreed.
        rtcp_short_tags: SRTCP packets with the tag length of RTP.
        dtmf_digits_sent, dtmf_digits_received: By RFC 4733.
        decoding: What decoding had to cope with, None while nobody decodes.
        jitter_buffer: What the jitter buffer did, None without one.
        jitter_buffer_settings: How it behaves.
        xr: Extended reports (RFC 3611).
        video: What only video has, None for audio.
        dropped: Datagrams that were not accepted, by reason.
        socket_overflows: Datagrams the kernel dropped because nobody fetched them in time.
        late_ticks: Own media ticks that began more than 5 ms late while the stream was there.
        send_measures, receive_measures: What others add, by catalogue key; see `Measures`.
    """

    sampled_at: float
    send: SenderStatistics
    receive: ReceptionStatistics
    ssrc: int
    remote_ssrc: int | None
    source: tuple[str, int] | None
    source_locked: bool
    first_packet_at: float | None
    srtp_decrypt_failures: int
    srtp_replayed: int
    srtp_old_key_packets: int
    srtp_unfollowed: int
    srtp_early_packets: int
    srtp_roc_kept: int
    srtp_roc_resets: int
    srtp_failure: FailureCause | None
    srtp_protect_failures: int
    payload_octets: int
    levels: LevelStatistics
    comfort_noise_packets: int
    speech: Speech | None
    sent_speech: Speech | None
    bursts: BurstGap | None
    burst_ratio: float
    mean_jitter_ms: float | None
    clock_drift_ppm: float | None
    clock_skew_ppm: float | None
    rtt_ms: float | None
    rtcp_sr_rr_interval_ms: float | None
    reported_fraction_lost: float | None
    reported_packets_lost: int | None
    reported_jitter_ms: float | None
    rtcp_packets_sent: int
    rtcp_packets_received: int
    feedback_sent: FeedbackCounts
    feedback_received: FeedbackCounts
    rtcp_in_clear: int
    rtcp_encryption_mismatches: int
    rtcp_short_tags: int
    dtmf_digits_sent: int
    dtmf_digits_received: int
    decoding: DecodingStatistics | None
    jitter_buffer: JitterBufferStatistics | None
    dropped: Mapping[str, int]
    socket_overflows: int
    late_ticks: int = 0
    report_after_s: float | None = None
    jitter_buffer_settings: JitterBufferSettings | None = None
    xr: ExtendedReportStatistics = NO_REPORTS
    video: VideoStatistics | None = None
    send_measures: Mapping[str, Value] = field(default_factory=dict)
    receive_measures: Mapping[str, Value] = field(default_factory=dict)

    @property
    def audio_level_dbov(self) -> float | None:
        """Mean level of the received audio, None when it was not measured."""
        return self.levels.mean

    @property
    def audio_level_packets(self) -> int:
        """How many packets were measured."""
        return self.levels.packets
