"""The system under test that a project names."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from callmeter import Credentials, Transport
from callmeter.config import TlsVerify
from callmeter.errors import AuthenticationFailed, ConfigurationError
from callmeter.testing.assertions import assert_secure, wait_heard
from callmeter.testing.system_under_test import Target, TargetSettings, target_settings


@pytest.fixture
def project(tmp_path):
    """What pytest tells of an ini file."""

    def project(**options):
        return SimpleNamespace(
            rootpath=tmp_path,
            getini=lambda name: options.get(name.removeprefix("callmeter_"), ""),
        )

    return project


def test_without_a_target_the_test_is_skipped_with_the_reason(project):
    with pytest.raises(pytest.skip.Exception, match="no system under test: set callmeter_target"):
        target_settings(project(), None)


def test_the_options_of_the_ini_file(project, tmp_path, trusted, monkeypatch):
    monkeypatch.delenv("CALLMETER_USER", raising=False)
    trusted.cert_pem.write_to_path(str(tmp_path / "lab.pem"))
    settings = target_settings(
        project(
            target="sip:echo@pbx.test",
            transport="tls",
            tls_ca="lab.pem",
            registrar="sip:registrar.test",
            outbound_proxy="proxy.test",
            aor="sip:carol@pbx.test",
            srtp="dtls",
            bind="192.0.2.9",
        ),
        None,
    )
    assert (settings.uri, settings.bind) == ("sip:echo@pbx.test", "192.0.2.9")
    assert settings.credentials is None
    endpoint = settings.endpoint
    assert endpoint.pop("tls").verify is TlsVerify.CUSTOM
    assert endpoint == {
        "transport": Transport.TLS,
        "outbound_proxy": "proxy.test",
        "registrar": "sip:registrar.test",
        "srtp": "dtls",
        "aor": "sip:carol@pbx.test",
    }


def test_what_is_not_said_has_its_default(project, monkeypatch):
    monkeypatch.delenv("CALLMETER_USER", raising=False)
    settings = target_settings(project(target="echo@pbx.test"), None)
    assert settings.endpoint == {
        "transport": Transport.AUTO,
        "aor": "sip:callmeter@pbx.test",
    }


def test_the_marker_goes_before_the_file_and_the_password_is_in_no_repr(project, monkeypatch):
    monkeypatch.setenv("CALLMETER_USER", "carol")
    monkeypatch.setenv("CALLMETER_PASSWORD", "christmas carol")
    given = {"transport": "tcp", "ptime": 40}
    mark = SimpleNamespace(args=("sip:other@pbx.test",), kwargs=given)
    settings = target_settings(project(target="sip:echo@pbx.test", transport="tls"), mark)
    assert settings.uri == "sip:other@pbx.test"
    assert settings.endpoint["transport"] is Transport.TCP
    assert settings.endpoint["ptime"] == 40
    assert settings.endpoint["aor"] == "sip:carol@pbx.test"
    assert settings.credentials == Credentials("carol", "christmas carol")
    assert "christmas" not in repr(settings)


def test_a_transport_that_does_not_exist_is_told(project):
    with pytest.raises(ConfigurationError, match="no transport 'sctp'"):
        target_settings(project(target="sip:echo@pbx.test", transport="sctp"), None)


@pytest.fixture
async def system(phones):
    """A registrar with an echo behind it, as a system under test."""
    await phones("echo", srtp="sdes")
    registrar = phones.registrar
    registrar.add_account("carol", "christmas")
    return TargetSettings(
        uri=registrar.aor("echo"),
        credentials=Credentials("carol", "christmas"),
        endpoint={"aor": registrar.aor("carol"), "srtp": "sdes"},
        bind="127.0.0.1",
    )


async def test_its_endpoint_registers_and_calls(system, phones):
    async with Target(system) as target:
        phone = await target.endpoint()
        assert phones.registrar.contacts("carol") == [str(phone.contact)]
        async with phone.call(target.uri) as call:
            async with asyncio.TaskGroup() as tasks:
                playing = tasks.create_task(call.media.play())
                await wait_heard(call, tone=440)
                playing.cancel()
            assert_secure(call)
        assert list(target.phones) == [phone]


async def test_it_need_not_register_and_keywords_go_before_the_settings(system, phones):
    async with Target(system) as target:
        phone = await target.endpoint(register=False, ptime=40, answer=False)
        assert phone.config.media.ptime == 40
    assert phones.registrar.contacts("carol") == []


async def test_a_wrong_password_is_told(system, phones):
    phones.registrar.add_account("carol", "another one")
    async with Target(system) as target:
        with pytest.raises(AuthenticationFailed):
            await target.endpoint()


@pytest.mark.parametrize("content", [None, "no PEM", "ümlaut"])
def test_a_file_without_an_authority_is_named_with_its_option(project, tmp_path, content):
    path = tmp_path / "root.pem"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"callmeter_tls_ca: .*root\.pem: ."):
        target_settings(project(target="sip:echo@pbx.test", tls_ca=str(path)), None)
