"""Options that several commands share, and the settings they make."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path  # noqa: TC003  read at run time by typer
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from callmeter.call_trace import PCAPNG_SUFFIX
from callmeter.config import (
    DEFAULT_SUITES,
    CaptureConfig,
    Codec,
    Credentials,
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    SrtpSuite,
    StackConfig,
    TlsConfig,
    TlsVerify,
    Transport,
)
from callmeter.errors import ConfigurationError, SipSyntaxError
from callmeter.load.plan import ScenarioPlan
from callmeter.rtp.telephone_event import MINIMUM_DURATION_MS, check_digits
from callmeter.sip.uri import SipUri, parse_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

OptionsT = TypeVar("OptionsT", bound="CommonOptions")

__all__ = ["CallOptions", "CommonOptions", "Srtp", "check_folder", "target_of", "with_options"]

ACCOUNT = "Account"
NETWORK = "Network"
TLS = "TLS"
MEDIA = "Media"
OUTPUT = "Output"


class Srtp(StrEnum):
    """Values of `--srtp`."""

    OFF = "off"
    SDES = "sdes"
    DTLS = "dtls"
    DUAL = "dual"


class Verify(StrEnum):
    """Values of `--tls-verify`."""

    SYSTEM = "system"
    CUSTOM = "custom"
    SKIP = "skip"


class Policy(StrEnum):
    """Values of `--srtp-policy`."""

    OFFERED = "offered"
    REQUIRED = "required"


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """Who to be and how to reach the network."""

    aor: Annotated[
        str | None,
        typer.Option(
            envvar="CALLMETER_AOR",
            help="Own address of record, sip:alice@example.com.",
            rich_help_panel=ACCOUNT,
        ),
    ] = None
    user: Annotated[
        str | None,
        typer.Option(
            envvar="CALLMETER_USER",
            help="Digest user name; default: the user of --aor.",
            rich_help_panel=ACCOUNT,
        ),
    ] = None
    password: Annotated[
        str | None,
        typer.Option(
            envvar="CALLMETER_PASSWORD",
            help="Digest password; better given in the environment.",
            show_envvar=True,
            rich_help_panel=ACCOUNT,
        ),
    ] = None
    bind: Annotated[
        str | None,
        typer.Option(
            help="Own address, or address:port, for SIP; an IPv6 address goes in brackets.",
            rich_help_panel=NETWORK,
        ),
    ] = None
    transport: Annotated[
        Transport, typer.Option(help="How SIP travels.", rich_help_panel=NETWORK)
    ] = Transport.UDP
    outbound_proxy: Annotated[
        str | None,
        typer.Option(help="host[:port] that every request goes to.", rich_help_panel=NETWORK),
    ] = None
    nameserver: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Name server to ask instead of the system's; may be repeated.",
            rich_help_panel=NETWORK,
        ),
    ] = None
    tls_verify: Annotated[
        Verify | None,
        typer.Option(
            help="Whom to trust; default: the CA of --tls-ca if given, else the system.",
            rich_help_panel=TLS,
        ),
    ] = None
    tls_ca: Annotated[
        Path | None, typer.Option(help="PEM file of the CA to trust.", rich_help_panel=TLS)
    ] = None
    tls_cert: Annotated[
        Path | None,
        typer.Option(help="PEM file of the own certificate.", rich_help_panel=TLS),
    ] = None
    tls_key: Annotated[
        Path | None, typer.Option(help="PEM file of its key.", rich_help_panel=TLS)
    ] = None
    trace: Annotated[
        Path | None,
        typer.Option(
            help="Write ladder and messages (secrets removed) to this file; FILE.pcapng: packets.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout.", rich_help_panel=OUTPUT)
    ] = False

    def stack_config(self) -> StackConfig:
        """What the options say about the stack."""
        given = StackConfig(name_servers=tuple(self.nameserver or ()))
        if self.bind is not None:
            host, port = _split_bind(self.bind)
            try:
                given = replace(given, bind=host, port=port)
            except ConfigurationError as error:
                raise ConfigurationError(f"--bind {self.bind!r}: {error}") from None
        secure = self.transport in {Transport.TLS, Transport.WSS}
        if secure and self.tls_cert is not None:
            # With a certificate of our own, others can call in by TLS as well.
            given = replace(
                given,
                transports=(*given.transports, self.transport),
                tls=self.tls_config(),
                tls_port=given.port if self.transport is Transport.TLS else 0,
                wss_port=given.port if self.transport is Transport.WSS else 0,
                port=0,
            )
        return given

    def tls_config(self) -> TlsConfig:
        """What the options say about TLS."""
        verify = self.tls_verify
        if verify is None:
            verify = Verify.SYSTEM if self.tls_ca is None else Verify.CUSTOM
        if verify is Verify.CUSTOM and self.tls_ca is None:
            raise ConfigurationError("--tls-verify custom needs --tls-ca FILE")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigurationError("--tls-cert and --tls-key go together")
        ca, certificate, private_key = (
            _pem("--tls-ca", self.tls_ca),
            _pem("--tls-cert", self.tls_cert),
            _pem("--tls-key", self.tls_key),
        )
        try:
            return TlsConfig(
                verify=TlsVerify(verify.value),
                ca=ca,
                certificate=certificate,
                private_key=private_key,
            )
        except ConfigurationError as error:
            raise ConfigurationError(self._in_options(str(error))) from None

    def _in_options(self, text: str) -> str:
        """What is wrong with a PEM, said of the file it came from."""
        text = text.removesuffix(": give the content of the file, not its path")
        files = {
            "ca": ("--tls-ca", self.tls_ca),
            "certificate": ("--tls-cert", self.tls_cert),
            "private_key": ("--tls-key", self.tls_key),
        }
        for name, (option, path) in files.items():
            if text.startswith((f"{name} ", f"{name}:")):
                return f"{option} {path}{text.removeprefix(name)}"
        return text

    def endpoint_config(
        self, *, peer_host: str = "callmeter.invalid", media: MediaConfig | None = None
    ) -> EndpointConfig:
        """What the options say about the endpoint; `peer_host` completes a missing --aor."""
        check_folder("--trace", self.trace)
        host = f"[{peer_host}]" if ":" in peer_host else peer_host
        aor = self.aor or f"sip:{self.user or 'callmeter'}@{host}"
        credentials = None
        if self.password is not None:
            user = self.user or aor.partition(":")[2].partition("@")[0]
            credentials = Credentials(user, self.password)
        return EndpointConfig(
            aor,
            credentials,
            self.transport,
            outbound_proxy=self.outbound_proxy,
            media=media or MediaConfig(),
            tls=self.tls_config(),
        )


@dataclass(frozen=True, kw_only=True)
class CallOptions(CommonOptions):
    """And what to say and hear."""

    srtp: Annotated[
        Srtp, typer.Option(help="How media keys are exchanged.", rich_help_panel=MEDIA)
    ] = Srtp.OFF
    srtp_policy: Annotated[
        Policy | None,
        typer.Option(
            help="Fall back to clear media, or fail; with --srtp.",
            show_default=Policy.REQUIRED.value,
            rich_help_panel=MEDIA,
        ),
    ] = None
    suites: Annotated[
        str | None,
        typer.Option(
            help="SRTP suites by IANA name, in order, separated by commas; with --srtp.",
            rich_help_panel=MEDIA,
        ),
    ] = None
    rtcp_mux: Annotated[
        bool | None,
        typer.Option(
            "--rtcp-mux/--no-rtcp-mux",
            help="RTP and RTCP on one port; default: with DTLS alone.",
            rich_help_panel=MEDIA,
        ),
    ] = None
    avpf: Annotated[
        bool, typer.Option("--avpf", help="Use the AVPF profile.", rich_help_panel=MEDIA)
    ] = False
    ice: Annotated[
        bool,
        typer.Option("--ice", help="Be found by ICE, as browsers want.", rich_help_panel=MEDIA),
    ] = False
    codec: Annotated[
        list[Codec] | None,
        typer.Option(
            help="Codec; repeat it for an order.", case_sensitive=False, rich_help_panel=MEDIA
        ),
    ] = None
    duration: Annotated[
        float | None,
        typer.Option(
            help=(
                "Seconds to talk; default: 5 when calling, 2 by doctor, until the end by answer, "
                "and no longer than FILE.wav. If given, silence follows a shorter FILE.wav."
            ),
            min=0.0,
            rich_help_panel=MEDIA,
        ),
    ] = None
    play: Annotated[
        str,
        typer.Option(help="tone, tone:HZ, silence, echo or FILE.wav.", rich_help_panel=MEDIA),
    ] = "tone"
    record: Annotated[
        Path | None,
        typer.Option(help="Record what is heard as WAV.", rich_help_panel=MEDIA),
    ] = None
    dtmf: Annotated[
        str | None, typer.Option(help="Digits to send once answered.", rich_help_panel=MEDIA)
    ] = None
    scenario: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="What to do in the call and when: hold, resume, digits ...",
            rich_help_panel=MEDIA,
        ),
    ] = None
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Write the report as a page; of further calls answered, to FILE-2.html ...",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    trace_secrets: Annotated[
        bool,
        typer.Option(
            "--trace-secrets",
            help="In FILE.pcapng: SRTP as it was on the wire, and its keys.",
            rich_help_panel=OUTPUT,
        ),
    ] = False

    def media_config(self) -> MediaConfig:
        """What the options say about media."""
        check_folder("--record", self.record)
        check_folder("--report", self.report)
        _check_dtmf(self.dtmf)
        self._check_srtp()
        method = {
            Srtp.OFF: SrtpMethod.SDES,
            Srtp.SDES: SrtpMethod.SDES,
            Srtp.DTLS: SrtpMethod.DTLS,
            Srtp.DUAL: SrtpMethod.DUAL,
        }[self.srtp]
        asked = self.srtp_policy or Policy.REQUIRED
        policy = SrtpPolicy.DISABLED if self.srtp is Srtp.OFF else SrtpPolicy(asked.value)
        return MediaConfig(
            codecs=tuple(self.codec or (Codec.PCMU, Codec.PCMA)),
            srtp=SrtpConfig(method=method, policy=policy, suites=_suites(self.suites)),
            rtcp_mux=self.rtcp_mux,
            feedback=self.avpf,
            ice=self.ice,
            capture=self._capture_config(),
        )

    def _check_srtp(self) -> None:
        """Refuse what is said of SRTP while it is off: media would be in clear."""
        given = {"--srtp-policy": self.srtp_policy, "--suites": self.suites}
        for option, value in given.items():
            if value is not None and self.srtp is Srtp.OFF:
                raise ConfigurationError(
                    f"{option} needs --srtp sdes, --srtp dtls or --srtp dual: media is in clear "
                    "without"
                )

    def scenario_plan(self) -> ScenarioPlan | None:
        """The plan in the file of `--scenario`."""
        if self.scenario is None:
            return None
        try:
            return ScenarioPlan.from_json(self.scenario.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigurationError(f"--scenario {self.scenario}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"--scenario {self.scenario}: it is not UTF-8") from None
        except ConfigurationError as error:
            raise ConfigurationError(f"--scenario {self.scenario}: {error}") from None

    def _capture_config(self) -> CaptureConfig | None:
        """Media is captured for a trace that can show it."""
        if self.trace is None or self.trace.suffix.lower() != PCAPNG_SUFFIX:
            if self.trace_secrets:
                raise ConfigurationError("--trace-secrets needs --trace FILE.pcapng")
            return None
        return CaptureConfig(decrypt=not self.trace_secrets, secrets=self.trace_secrets)


def target_of(text: str) -> SipUri:
    """The SIP URI of an argument; `sip:` may be left out.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        known = text.lower().startswith(("sip:", "sips:", "tel:"))
        uri = parse_uri(text if known else f"sip:{text}")
    except SipSyntaxError as error:
        raise ConfigurationError(f"{text!r} is not a SIP URI: {error}") from None
    if not isinstance(uri, SipUri):
        raise ConfigurationError(f"{text!r} is not a SIP URI")
    return uri


def check_folder(option: str, path: Path | None) -> None:
    """Refuse a file that cannot be written before a call is made for it.

    Raises:
        ConfigurationError: Its folder does not exist, or it is a folder itself.
    """
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise ConfigurationError(f"{option} {str(path)!r}: no file can be written there")


def _check_dtmf(digits: str | None) -> None:
    try:
        check_digits(digits or "", MINIMUM_DURATION_MS)
    except ConfigurationError as error:
        raise ConfigurationError(f"--dtmf {digits!r}: {error}") from None


def _pem(option: str, path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigurationError(f"{option} {path}: {error.strerror}") from None


def _suites(text: str | None) -> tuple[SrtpSuite, ...]:
    if text is None:
        return DEFAULT_SUITES
    try:
        return tuple(SrtpSuite(name.strip()) for name in text.split(","))
    except ValueError:
        known = ", ".join(SrtpSuite)
        raise ConfigurationError(f"--suites {text!r}: known are {known}") from None


def _split_bind(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or "]" in port or (":" in host and not host.startswith("[")):
        host, port = text, "0"
    if not (port.isascii() and port.isdigit()):
        raise ConfigurationError(f"--bind {text!r} is not address or address:port")
    return host.strip("[]"), int(port)


def with_options(
    kind: type[OptionsT], *, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Turn `f(..., options)` into a command that takes every field of `kind` as an option.

    Args:
        kind: `CommonOptions` or a subclass; an instance is given to `f` as `options`.
        without: Fields that mean nothing to the command: it does not take them.
    """
    hints = get_type_hints(kind, include_extras=True)
    fields = [field for field in dataclasses.fields(kind) if field.name not in without]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter
            for name, parameter in inspect.signature(function).parameters.items()
            if name != "options"
        ]
        own_hints = get_type_hints(function, include_extras=True)

        @functools.wraps(function)
        def command(**arguments: Any) -> None:
            values = {field.name: arguments.pop(field.name) for field in fields}
            function(**arguments, options=kind(**values))

        added = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=hints[field.name],
            )
            for field in fields
        ]
        own = [item.replace(annotation=own_hints[item.name]) for item in own]
        # A function may have one; its type does not say so.
        command.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        command.__annotations__ = {item.name: item.annotation for item in [*own, *added]}
        return command

    return decorate
