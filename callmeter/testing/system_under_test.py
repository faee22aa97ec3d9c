"""The system under test that a project's ini file names."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from callmeter.config import Credentials, TlsConfig, TlsVerify, Transport
from callmeter.errors import ConfigurationError
from callmeter.setting_words import member
from callmeter.testing.endpoint_settings import endpoint_config
from callmeter.testing.phones import Phones
from callmeter.uri_settings import setting_uri

if TYPE_CHECKING:
    from types import TracebackType

    from callmeter.testing.phones import Phone

__all__ = ["Target", "TargetSettings", "target_settings"]

USER: Final = "CALLMETER_USER"
PASSWORD: Final = "CALLMETER_PASSWORD"  # noqa: S105  the name of a variable
ANYWHERE: Final = "0.0.0.0"  # noqa: S104  the address that reaches the target is found out


@dataclass(frozen=True, kw_only=True)
class TargetSettings:
    """What is known about a system under test.

    Attributes:
        uri: Whom to call.
        credentials: From the environment; None without.
        endpoint: Settings of the endpoints that call it.
        bind: Own address.
    """

    uri: str
    credentials: Credentials | None = None
    endpoint: dict[str, Any] = field(default_factory=dict)
    bind: str = ANYWHERE


def target_settings(config: pytest.Config, marker: pytest.Mark | None) -> TargetSettings:
    """The settings of the marker, then of the ini file; the test is skipped where none names one.

    Raises:
        ConfigurationError: A setting that cannot work.
    """
    given = {} if marker is None else dict(marker.kwargs)
    if marker is not None and marker.args:
        given["uri"] = marker.args[0]

    def setting(name: str) -> str | None:
        text: str | None = given.pop(name, None) or config.getini(f"callmeter_{name}") or None
        return text

    uri = given.pop("uri", None) or config.getini("callmeter_target")
    if not uri:
        pytest.skip(
            "no system under test: set callmeter_target, as in "
            "`pytest -o callmeter_target=sip:echo@pbx.example.com`"
        )
    user, password = os.environ.get(USER), os.environ.get(PASSWORD)
    credentials = Credentials(user, password) if user and password is not None else None
    endpoint: dict[str, Any] = {
        "transport": member(Transport, "transport", setting("transport") or Transport.AUTO),
        "outbound_proxy": setting("outbound_proxy"),
        "registrar": setting("registrar"),
        "srtp": setting("srtp"),
        "aor": setting("aor") or f"sip:{user or 'callmeter'}@{setting_uri('target', uri).host}",
    }
    authority = setting("tls_ca")
    if authority is not None:
        endpoint["tls"] = _trust(Path(config.rootpath) / authority)
    bind = setting("bind") or ANYWHERE
    settings = {name: value for name, value in endpoint.items() if value is not None} | given
    return TargetSettings(uri=uri, credentials=credentials, endpoint=settings, bind=bind)


def _trust(path: Path) -> TlsConfig:
    try:
        pem = path.read_text(encoding="ascii")
        return TlsConfig(verify=TlsVerify.CUSTOM, ca=pem)
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"callmeter_tls_ca: {path}: {told}") from None


class Target:
    """The system under test: `phone = await target.endpoint()`, `phone.call(target.uri)`.

    Attributes:
        uri: Whom to call.
        settings: What is known about it.
        phones: The endpoints that call it.
    """

    def __init__(self, settings: TargetSettings) -> None:
        self.uri = settings.uri
        self.settings = settings
        self.phones = Phones(None, None, bind=settings.bind)
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._exit.enter_async_context(self.phones)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._exit.aclose()

    async def endpoint(self, *, register: bool | None = None, **settings: Any) -> Phone:
        """An endpoint that reaches the system.

        Args:
            register: Whether to register it; None does so where there are credentials.
            settings: As the fixture `endpoint` takes them, in place of those configured.

        Raises:
            RegistrationFailed: It refused.
            TransportError: It cannot be reached.
        """
        answer = settings.pop("answer", True)
        given = {**self.settings.endpoint, **settings}
        given.setdefault("credentials", self.settings.credentials)
        config = endpoint_config(given.pop("aor"), **given)
        wanted = config.credentials is not None if register is None else register
        return await self.phones.add(config, register=wanted, answer=answer)
