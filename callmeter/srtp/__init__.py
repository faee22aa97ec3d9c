"""SRTP: protection profiles, keys from SDP, the door to libsrtp, and software beside it."""

from callmeter.srtp.context import SrtpContext, authenticates
from callmeter.srtp.libsrtp import supported_suites
from callmeter.srtp.protection_profiles import ProtectionProfile, for_dtls, for_suite, profile
from callmeter.srtp.sdes import CryptoLine, MasterKey, accept_answer, accept_offer, generate, offer
from callmeter.srtp.session_parameters import SessionParameters

__all__ = [
    "CryptoLine",
    "MasterKey",
    "ProtectionProfile",
    "SessionParameters",
    "SrtpContext",
    "accept_answer",
    "accept_offer",
    "authenticates",
    "for_dtls",
    "for_suite",
    "generate",
    "offer",
    "profile",
    "supported_suites",
]
