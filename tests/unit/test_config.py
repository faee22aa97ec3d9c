"""A wrong setting fails in the line that wrote it, and a right one travels between processes."""

from __future__ import annotations

import pickle

import pytest

from callmeter.config import (
    ClientCertificates,
    Codec,
    ConnectionLimits,
    Credentials,
    EndpointConfig,
    LimitConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    SrtpSuite,
    StackConfig,
    TimerConfig,
    TlsConfig,
    TlsVerify,
    Transport,
)
from callmeter.errors import ConfigurationError
from callmeter.testing.certificates import Authority

SECRET = "s3cret-w0rd"
AUTHORITY = Authority()
OWN = AUTHORITY.issue("alice.example.com")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TlsConfig(verify=TlsVerify.CUSTOM), "CUSTOM needs the ca"),
        (lambda: MediaConfig(shared_port=True, rtcp_mux=False), "needs rtcp_mux"),
        (lambda: TlsConfig(certificate="PEM"), "go together"),
        (lambda: TlsConfig(private_key="PEM"), "go together"),
        (
            lambda: TlsConfig(client_certificates=ClientCertificates.REQUIRED),
            "checked against ca",
        ),
        (lambda: Credentials("", "x"), "username may not be empty"),
        (lambda: Credentials("a\r\nb", "x"), "username may not contain"),
        (lambda: Credentials("a", "x\n"), "password may not contain"),
        (lambda: Credentials("a", "x", "re\0alm"), "realm may not contain"),
        (lambda: SrtpConfig(policy=SrtpPolicy.OFFERED, suites=()), "needs a suite"),
        (lambda: SrtpConfig(suites=(SrtpSuite.AEAD_AES_128_GCM,) * 2), "listed twice"),
        (lambda: SrtpConfig(osrtp=True, policy=SrtpPolicy.REQUIRED), "opportunistic"),
        (lambda: MediaConfig(codecs=()), "at least one codec"),
        (lambda: MediaConfig(codecs=("opus", "G729")), "PCMU, PCMA, G722, opus.*G729"),
        (lambda: MediaConfig(codecs=("opus", Codec.OPUS)), "listed twice"),
        (lambda: MediaConfig(ptime=25), "ptime"),
        (lambda: MediaConfig(ptime=70), "ptime"),
        (lambda: MediaConfig(telephone_event_payload_type=95), "96 to 127"),
        (lambda: MediaConfig(telephone_event_payload_type=128), "96 to 127"),
        (lambda: MediaConfig(ports=(0, 10)), "ports"),
        (lambda: MediaConfig(ports=(20, 10)), "ports"),
        (lambda: MediaConfig(ports=(65_000, 65_536)), "ports"),
        (lambda: MediaConfig(dscp=64), "dscp"),
        (lambda: MediaConfig(address="media.example"), "not an IP address"),
        (lambda: TimerConfig(t1=0), "t1"),
        (lambda: TimerConfig(t1=5), "t1"),
        (lambda: TimerConfig(t4=0), "t4"),
        (lambda: TimerConfig(ring_timeout=0), "ring_timeout"),
        (lambda: LimitConfig(message=0), "message is at least 1"),
        (lambda: LimitConfig(dialogs=-1), "dialogs is at least 1"),
        (lambda: LimitConfig(loop_delay=0), "loop_delay is above 0"),
        (lambda: LimitConfig(tick_delay=0), "tick_delay is above 0"),
        (lambda: ConnectionLimits(connect=0), "connect is above 0"),
        (lambda: ConnectionLimits(inbound=-1), "inbound is above 0"),
        (lambda: StackConfig(bind="localhost"), "not an IP address"),
        (lambda: StackConfig(port=65_536), "port is 0 to 65535"),
        (lambda: StackConfig(transports=()), "at least one transport"),
        (lambda: StackConfig(transports=(Transport.UDP, Transport.UDP)), "listed twice"),
        (lambda: EndpointConfig("alice@example.com"), "address of record"),
        (lambda: EndpointConfig("tel:+15551234"), "address of record"),
        (lambda: EndpointConfig("sip:example.com"), "address of record"),
        (lambda: EndpointConfig("sip:@example.com"), "address of record"),
        (lambda: EndpointConfig("sip:alice@"), "address of record"),
        (lambda: EndpointConfig("http://alice@example.com"), "address of record"),
        (lambda: EndpointConfig("sip:a@b\r\nX: y"), "aor may not contain"),
        (lambda: EndpointConfig("sip:a@b", outbound_proxy="p\n"), "outbound_proxy may not"),
        (lambda: EndpointConfig("sip:a@b", registrar="r\n"), "registrar may not"),
        (lambda: EndpointConfig("sip:a@b", display_name="A\rB"), "display_name may not"),
        (lambda: EndpointConfig("sip:a@b", user_agent="\0"), "user_agent may not"),
        (lambda: EndpointConfig("sip:a@b", expires=0), "at least 1 second"),
        (lambda: EndpointConfig("sip:a@b", redirects=6), "redirects is 0 to 5"),
        (lambda: EndpointConfig("sip:a@b", redirects=-1), "redirects is 0 to 5"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_codecs_are_given_by_name_too():
    config = MediaConfig(codecs=("Opus", "g722", Codec.PCMU), dscp=None)
    assert config.codecs == (Codec.OPUS, Codec.G722, Codec.PCMU)
    assert config.dscp is None


def full_config() -> EndpointConfig:
    return EndpointConfig(
        "sips:alice@example.com",
        Credentials("alice", SECRET, realm="example.com"),
        Transport.TLS,
        media=MediaConfig(
            codecs=(Codec.PCMA,),
            srtp=SrtpConfig(method=SrtpMethod.DUAL, policy=SrtpPolicy.OFFERED, osrtp=True),
            address="192.0.2.1",
            ports=(16_384, 16_385),
            dscp=0,
        ),
        tls=TlsConfig(
            certificate=OWN.certificate,
            private_key=OWN.private_key,
            verify=TlsVerify.CUSTOM,
            ca=AUTHORITY.pem,
        ),
        outbound_proxy="192.0.2.9:5061",
        display_name="Alice",
    )


@pytest.mark.parametrize(
    "config",
    [full_config(), StackConfig(port=5060, timers=TimerConfig(t1=0.1), limits=LimitConfig())],
)
def test_settings_survive_pickling_and_can_be_keys(config):
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(pickle.loads(pickle.dumps(config))) == hash(config)


def test_no_secret_is_in_the_text_of_a_setting():
    for text in (repr(full_config()), str(full_config())):
        assert SECRET not in text
        assert "PRIVATE KEY" not in text


@pytest.mark.parametrize(
    "make",
    [
        lambda: Credentials("", SECRET),
        lambda: Credentials("alice", f"{SECRET}\n"),
        lambda: TlsConfig(private_key=SECRET),
        lambda: TlsConfig(certificate=OWN.certificate, private_key=SECRET),
        lambda: EndpointConfig(f"sip:alice:{SECRET}@example.com"),
    ],
)
def test_no_secret_is_in_the_complaint_about_a_setting(make):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert SECRET not in str(caught.value)


def test_media_settings_change_in_a_copy():
    config = full_config()
    changed = config.with_media(rtcp_mux=True)
    assert changed.media.rtcp_mux
    assert not config.media.rtcp_mux
    assert changed.media.codecs == config.media.codecs
    with pytest.raises(ConfigurationError, match="dscp"):
        config.with_media(dscp=99)


@pytest.mark.parametrize(
    ("preset", "method", "policy"),
    [
        (MediaConfig.lab(), SrtpMethod.SDES, SrtpPolicy.DISABLED),
        (MediaConfig.sip_trunk(), SrtpMethod.SDES, SrtpPolicy.REQUIRED),
        (MediaConfig.enterprise(), SrtpMethod.SDES, SrtpPolicy.REQUIRED),
        (MediaConfig.webrtc_gateway(), SrtpMethod.DTLS, SrtpPolicy.REQUIRED),
        (MediaConfig.unknown_peer(), SrtpMethod.DUAL, SrtpPolicy.OFFERED),
    ],
)
def test_the_presets_say_what_their_scenario_needs(preset, method, policy):
    assert (preset.srtp.method, preset.srtp.policy) == (method, policy)
    assert preset.srtp.enabled is (policy is not SrtpPolicy.DISABLED)


def test_a_webrtc_gateway_wants_avpf_one_port_and_ice():
    preset = MediaConfig.webrtc_gateway()
    assert preset.feedback
    assert preset.rtcp_mux
    assert preset.ice


@pytest.mark.parametrize(
    ("transport", "port"),
    [("udp", 5060), ("tcp", 5060), ("tls", 5061), ("wss", 443), ("auto", 5060)],
)
def test_each_transport_has_its_port(transport, port):
    assert Transport(transport).default_port == port


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("aor", "sip:alice:wonderland@example.com"),
        ("aor", "SIPS:alice:wonderland@example.com"),
        ("aor", "alice:wonderland@example.com"),
        ("registrar", "sip:alice:wonderland@example.com"),
        ("outbound_proxy", "alice:wonderland@example.com:5060;lr"),
    ],
)
def test_a_password_in_a_uri_is_refused_and_not_shown(name, uri):
    settings = {"aor": "sip:alice@example.com", name: uri}
    with pytest.raises(ConfigurationError, match=f"{name} holds a password: .* Credentials") as at:
        EndpointConfig(**settings)
    assert "wonderland" not in str(at.value)


def test_a_uri_without_a_password_may_have_a_port_and_a_user():
    config = EndpointConfig(
        "sip:alice@example.com:5070",
        registrar="sip:example.com:5060",
        outbound_proxy="sip:edge@[2001:db8::1]:5061;lr",
    )
    assert config.registrar == "sip:example.com:5060"
