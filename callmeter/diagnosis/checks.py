"""All checks, in the order in which they are reported: signalling, keys, media, video."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.diagnosis import keys, negotiation, packets, session_keys, signaling, video
from callmeter.diagnosis.findings import of_audio, of_video

if TYPE_CHECKING:
    from callmeter.diagnosis.evidence import CallEvidence
    from callmeter.diagnosis.findings import Check
    from callmeter.diagnosis.video_evidence import VideoEvidence
    from callmeter.metrics.report import Finding

__all__ = ["CHECKS", "VIDEO_CHECKS", "diagnose"]

_OF_THE_CALL: Final[tuple[Check[CallEvidence], ...]] = (
    signaling.tls_configured,
    signaling.tls_verified,
    signaling.auto_fell_back,
    signaling.message_fits_udp,
    signaling.hung_up_normally,
)
_OF_EACH_STREAM: Final[tuple[Check[CallEvidence], ...]] = (
    negotiation.codec_agreed,
    negotiation.srtp_negotiated,
    negotiation.suites_compatible,
    negotiation.profile_right,
    negotiation.srtp_fallback,
    keys.dtls_reachable,
    keys.dtls_roles,
    keys.fingerprint_valid,
    keys.tag_length,
    keys.key_intact,
    keys.plain_for_secure,
    keys.secure_for_plain,
    keys.srtcp_consistent,
    keys.rekey_followed,
    keys.roc_consistent,
    session_keys.mki_agreed,
    session_keys.lifetime_kept,
    session_keys.keys_in_time,
    packets.port_reachable,
    packets.media_both_ways,
    packets.audio_not_silent,
)
_OF_AUDIO_ALONE: Final = frozenset(
    {
        negotiation.codec_agreed,
        keys.secure_for_plain,
        packets.media_both_ways,
        packets.audio_not_silent,
    }
)
CHECKS: Final = _OF_THE_CALL + _OF_EACH_STREAM
"""Of every call, and of its audio."""
_BESIDE_VIDEO: Final = _OF_THE_CALL + tuple(map(of_audio, _OF_EACH_STREAM))
VIDEO_CHECKS: Final[tuple[Check[VideoEvidence], ...]] = (
    of_video(video.agreed, always=True),
    *(of_video(each) for each in _OF_EACH_STREAM if each not in _OF_AUDIO_ALONE),
    of_video(video.media_both_ways),
    of_video(video.payload_readable),
    of_video(video.key_frame_came),
    of_video(video.losses_repaired),
    of_video(video.not_frozen),
    of_video(video.key_frames_sent),
)
"""Of the video of a call that has some, or should have."""


def diagnose(evidence: CallEvidence, video: VideoEvidence | None = None) -> tuple[Finding, ...]:
    """Run all checks over the facts of one call.

    Args:
        evidence: Of the call and its audio.
        video: Of its video, where one end wanted some.
    """
    if video is None:
        return tuple(each(evidence) for each in CHECKS)
    about = _BESIDE_VIDEO if video.agreed else CHECKS
    return tuple(each(evidence) for each in about) + tuple(each(video) for each in VIDEO_CHECKS)
