"""What the checks of video look at: the facts of its m= line, and of its pictures."""

from __future__ import annotations

from dataclasses import dataclass

from callmeter.diagnosis.evidence import CallEvidence

__all__ = ["VideoEvidence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoEvidence(CallEvidence):
    """The facts of the video of a call: those of every stream, and some of its own.

    Attributes:
        agreed: Whether offer and answer have a video line that is not refused.
        refused: Why there is no video though one end offered it, or empty.
        by_peer: It was the peer that refused it.
        feedback: What was agreed on as a=rtcp-fb, such as `"nack pli"`.
        packets_lost: Packets that did not come.
        frames_received: Frames of the present source that came whole.
        frames_lost: Frames of it that did not.
        key_frames_received: Key frames that came whole.
        malformed: Payloads that are none of the codec.
        recovered: Packets that came after a NACK.
        nacks_sent: NACK messages.
        undecodable_s: How long packets have come without the key frame that would make pictures of
            them; None while there are pictures.
        key_frames_asked: PLI or FIR that were sent in that time.
        span_s: From the first packet to the last one.
        freezes: Times the picture stood still.
        frozen_s: How long in all.
        frames_sent, key_frames_sent: What left.
        key_frame_requests: PLI and FIR that came.
        unanswered_s: How long frames have gone without the key frame the peer asked for.
    """

    agreed: bool = False
    refused: str = ""
    by_peer: bool = False
    feedback: frozenset[str] = frozenset()
    packets_lost: int = 0
    frames_received: int = 0
    frames_lost: int = 0
    key_frames_received: int = 0
    malformed: int = 0
    recovered: int = 0
    nacks_sent: int = 0
    undecodable_s: float | None = None
    key_frames_asked: int = 0
    span_s: float = 0.0
    freezes: int = 0
    frozen_s: float = 0.0
    frames_sent: int = 0
    key_frames_sent: int = 0
    key_frame_requests: int = 0
    unanswered_s: float = 0.0

    @property
    def asks_for_key_frames(self) -> bool:
        """Whether a way to ask the peer for one was agreed on."""
        return bool(self.feedback & {"nack pli", "ccm fir"})
