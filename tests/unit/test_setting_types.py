"""Settings of the wrong kind."""

from __future__ import annotations

from math import nan

import pytest

from callmeter.config import (
    Credentials,
    EndpointConfig,
    LimitConfig,
    MediaConfig,
    SrtpConfig,
    StackConfig,
    TimerConfig,
    TlsConfig,
    VideoConfig,
)
from callmeter.errors import ConfigurationError


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: MediaConfig(srtp="sdes"), "srtp of MediaConfig takes a SrtpConfig, not a str"),
        (lambda: MediaConfig(video=True), "takes a VideoConfig or None, not a bool"),
        (lambda: MediaConfig(codecs="PCMU"), "codecs of MediaConfig takes a tuple, not a str"),
        (lambda: MediaConfig(ptime=None), "ptime of MediaConfig takes an int, not None"),
        (lambda: VideoConfig(bandwidth="1M"), "bandwidth of VideoConfig takes an int, not a str"),
        (lambda: SrtpConfig(suites="AEAD_AES_128_GCM"), "suites of SrtpConfig takes a tuple"),
        (lambda: StackConfig(transports="udp"), "transports of StackConfig takes a tuple"),
        (lambda: TlsConfig(ca=b"pem"), "ca of TlsConfig takes a str or None, not a bytes"),
        (lambda: EndpointConfig("sip:a@b", media=SrtpConfig()), "takes a MediaConfig, not"),
        (lambda: EndpointConfig(None), "aor of EndpointConfig takes a str, not None"),
        (lambda: MediaConfig(ports=(1, 2, 3)), "ports of MediaConfig has 2 values, not 3"),
        (lambda: MediaConfig(ports=["1", 2]), "in ports of MediaConfig is an int, not a str"),
        (lambda: MediaConfig(feedback_messages=(1,)), "feedback_messages .* a str, not an int"),
        (lambda: MediaConfig(codecs=(None,)), "is a Codec or a str, not None"),
        (lambda: StackConfig(name_servers=(53,)), "name_servers of StackConfig is a str, not an"),
        (lambda: LimitConfig(loop_delay=nan), "loop_delay of LimitConfig is a number, not NaN"),
        (lambda: TimerConfig(ring_timeout=nan), "is a number, not NaN"),
        (lambda: Credentials("alice", None), "password of Credentials takes a str, not None"),
    ],
    ids=lambda value: value if isinstance(value, str) else "given",
)
def test_a_setting_of_the_wrong_kind_is_named_with_what_belongs_there(wrong, words):
    with pytest.raises(ConfigurationError, match=words):
        wrong()


def test_what_was_given_in_the_wrong_place_is_not_shown():
    with pytest.raises(ConfigurationError) as caught:
        EndpointConfig("sip:alice@example.com", credentials=("alice", "wonderland"))
    assert "wonderland" not in str(caught.value)


def test_a_list_does_for_a_tuple():
    assert StackConfig(name_servers=["192.0.2.53"]).name_servers == ("192.0.2.53",)
    assert MediaConfig(ports=[4000, 4999]).ports == (4000, 4999)
