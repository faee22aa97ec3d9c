"""Evidence of a healthy call, to be spoilt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.config import SrtpPolicy
from callmeter.diagnosis import CallEvidence, Description, KeyLine, VideoEvidence
from callmeter.sdp.profiles import RtpProfile

SUITE = "AES_CM_128_HMAC_SHA1_80"
AUDIO = Description(
    protocol="RTP/SAVP", profile=RtpProfile.SAVP, keys=(KeyLine(1, SUITE, characters=40),)
)


@pytest.fixture
def audio() -> Description:
    """The description of SDES audio."""
    return AUDIO


@pytest.fixture
def healthy() -> CallEvidence:
    """An SDES call over UDP that went well."""
    return CallEvidence(
        answered=True,
        final_status=200,
        seconds=3.0,
        transport="UDP",
        largest_datagram=900,
        policy=SrtpPolicy.REQUIRED,
        suites=(SUITE,),
        offer=AUDIO,
        answer=AUDIO,
        keying="sdes",
        suite=SUITE,
        codec="PCMU",
        direction="sendrecv",
        packets_sent=150,
        packets_received=150,
        payload_octets=160,
        rtcp_sent=2,
        rtcp_received=2,
        reported_loss=0.0,
    )


@pytest.fixture
def plain(healthy) -> CallEvidence:
    """A call of a lab without encryption that went well."""
    bare = replace(AUDIO, protocol="RTP/AVP", profile=RtpProfile.AVP, keys=())
    return replace(
        healthy,
        policy=SrtpPolicy.DISABLED,
        keying="none",
        suite=None,
        offer=bare,
        answer=bare,
    )


@pytest.fixture
def by_dtls(healthy) -> CallEvidence:
    """A DTLS-SRTP call that went well."""
    dtls = Description(protocol="UDP/TLS/RTP/SAVP", profile=RtpProfile.DTLS_SAVP, fingerprints=1)
    return replace(healthy, keying="dtls", offer=dtls, answer=dtls)


@pytest.fixture
def seen() -> VideoEvidence:
    """The video of an SDES call that went well."""
    offered = replace(AUDIO, protocol="RTP/SAVPF", profile=RtpProfile.SAVPF, codecs=("VP8", "H264"))
    return VideoEvidence(
        answered=True,
        agreed=True,
        final_status=200,
        seconds=3.0,
        transport="UDP",
        policy=SrtpPolicy.REQUIRED,
        suites=(SUITE,),
        offer=offered,
        answer=offered,
        keying="sdes",
        suite=SUITE,
        codec="VP8",
        direction="sendrecv",
        packets_sent=150,
        packets_received=150,
        rtcp_sent=8,
        rtcp_received=8,
        reported_loss=0.0,
        feedback=frozenset({"nack", "nack pli", "ccm fir"}),
        frames_received=45,
        key_frames_received=2,
        span_s=3.0,
        frames_sent=45,
        key_frames_sent=2,
    )


@pytest.fixture
def status_of():
    """The status and the finding of one check over spoilt evidence."""

    def run(each, evidence, **changes):
        finding = each(replace(evidence, **changes))
        assert finding.check == each.identifier
        assert finding.detail
        assert bool(finding.remedy) is (finding.status in {"warn", "fail"})
        return finding.status.value, finding

    return run
