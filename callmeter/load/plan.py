"""What a scenario does in a call and when: up to 30 steps, each a trigger and an action.

Everything is frozen, picklable and checked when it is made. `ScenarioPlan.from_json` reads what a
file says:

    {"steps": [{"at": 2, "do": "hold"},
               {"at": 4.5, "do": "resume"},
               {"on": "dtmf-received", "digit": "#", "do": "hang-up"}]}
"""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from callmeter.config import Codec
from callmeter.errors import ConfigurationError
from callmeter.rtp.telephone_event import DIGITS, MINIMUM_DURATION_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from callmeter.media_keys import RekeyRoc

__all__ = [
    "Action",
    "Activate",
    "AtTime",
    "HangUp",
    "Hold",
    "OnEvent",
    "Rekey",
    "Resume",
    "ScenarioEvent",
    "ScenarioPlan",
    "SendDtmf",
    "Step",
    "Transfer",
    "UpdateMedia",
]

MAX_STEPS: Final = 30
MAX_SECONDS: Final = 86_400.0
USUAL_TIMEOUT: Final = 40.0
"""Seconds an action may take; more than the 32 s after which a request counts as unanswered."""


class ScenarioEvent(StrEnum):
    """What an action can wait for."""

    RINGING = "ringing"
    """A provisional response above 100."""
    EARLY_MEDIA = "early-media"
    """A provisional response with a session description."""
    ANSWERED = "answered"
    """The call is answered and its media has keys."""
    MEDIA_STARTED = "media-started"
    """The first media packet that could be read."""
    MEDIA_SILENT = "media-silent"
    """Media stopped to come."""
    HOLD_RECEIVED = "hold-received"
    """The peer put the call on hold."""
    RESUME_RECEIVED = "resume-received"
    """The peer took the call off hold."""
    REKEY_RECEIVED = "rekey-received"
    """The peer changed the media keys."""
    UPDATE_RECEIVED = "update-received"
    """The peer changed the media, by UPDATE (RFC 3311) or re-INVITE."""
    SESSION_REFRESHED = "session-refreshed"
    """Either end refreshed the session (RFC 4028)."""
    INFO_RECEIVED = "info-received"
    """An INFO request came that is not DTMF."""
    DTMF_RECEIVED = "dtmf-received"
    """A digit came, by RFC 4733 or INFO."""


# when


@dataclass(frozen=True, slots=True)
class AtTime:
    """So many seconds after the answer."""

    seconds: float

    def __post_init__(self) -> None:
        _check_seconds("at", self.seconds, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"at": self.seconds}

    def __str__(self) -> str:
        return f"at {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class OnEvent:
    """The first time that something happens in the call.

    Attributes:
        event: What happens.
        digit: Of DTMF, the digit it has to be; empty for any.
    """

    event: ScenarioEvent
    digit: str = ""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "event", ScenarioEvent(self.event))
        except ValueError:
            known = ", ".join(ScenarioEvent)
            raise ConfigurationError(f"no event {self.event!r}: known are {known}") from None
        if self.digit == "":
            return
        if self.event is not ScenarioEvent.DTMF_RECEIVED:
            raise ConfigurationError(f"a digit goes with dtmf-received, not with {self.event}")
        _check_digits(self.digit)
        if len(self.digit) > 1:
            raise ConfigurationError(f"one digit can be waited for, not {self.digit!r}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"on": self.event.value} | ({"digit": self.digit} if self.digit else {})

    def __str__(self) -> str:
        return f"on {self.event} {self.digit}".rstrip()


# then


@dataclass(frozen=True, slots=True)
class Action:
    """Base of what a step does.

    Attributes:
        word: Its name in a file.
    """

    word: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; what is as usual is left out."""
        said: dict[str, Any] = {"do": self.word}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                said[field.name] = list(value) if isinstance(value, tuple) else value
        return said

    def __str__(self) -> str:
        values = self.to_dict().values()
        return " ".join(",".join(v) if isinstance(v, list) else str(v) for v in values)


@dataclass(frozen=True, slots=True)
class Hold(Action):
    """Put the peer on hold (`Call.hold`)."""

    word: ClassVar[str] = "hold"


@dataclass(frozen=True, slots=True)
class Resume(Action):
    """Take the peer off hold (`Call.resume`)."""

    word: ClassVar[str] = "resume"


@dataclass(frozen=True, slots=True)
class Rekey(Action):
    """Agree on new media keys (`Call.rekey`).

    Attributes:
        roc: What becomes of the own rollover counter, `"reset"` or `"keep"`.
    """

    word: ClassVar[str] = "rekey"
    roc: RekeyRoc = "reset"

    def __post_init__(self) -> None:
        if self.roc not in ("reset", "keep"):
            raise ConfigurationError(f"roc is 'reset' or 'keep', not {self.roc!r}")


@dataclass(frozen=True, slots=True)
class UpdateMedia(Action):
    """Agree on the media anew (`Call.update`).

    Attributes:
        codecs: What to offer from now on; empty leaves it.
        ptime: Packet time in milliseconds; 0 leaves it.
        method: `"UPDATE"`, `"INVITE"`; empty takes UPDATE where the peer serves it.
    """

    word: ClassVar[str] = "update"
    codecs: tuple[Codec, ...] = ()
    ptime: int = 0
    method: str = ""

    def __post_init__(self) -> None:
        given: object = self.codecs
        try:
            codecs = tuple(map(Codec, map(str, given))) if isinstance(given, list | tuple) else None
        except ValueError:
            codecs = None
        if codecs is None:
            known = ", ".join(Codec)
            raise ConfigurationError(f"codecs is a list of {known}, not {given!r}")
        object.__setattr__(self, "codecs", codecs)
        if not _is_number(self.ptime) or (self.ptime and self.ptime not in range(10, 61, 10)):
            raise ConfigurationError(f"ptime is 10, 20 ... 60 ms, not {self.ptime!r}")
        if self.method not in ("", "UPDATE", "INVITE"):
            raise ConfigurationError(f"method is 'UPDATE' or 'INVITE', not {self.method!r}")


@dataclass(frozen=True, slots=True)
class Activate(Action):
    """Activate a track that was deferred (`MediaConfig.deferred`)."""

    word: ClassVar[str] = "activate"


@dataclass(frozen=True, slots=True)
class SendDtmf(Action):
    """Send digits (`Call.send_dtmf`).

    Attributes:
        digits: 0 to 9, *, #, A to D.
        method: `"rtp"` (RFC 4733) or `"info"` (RFC 2976).
        duration_ms: Length of each digit, at least 100 ms.
    """

    word: ClassVar[str] = "send-dtmf"
    digits: str
    method: str = "rtp"
    duration_ms: int = 160

    def __post_init__(self) -> None:
        _check_digits(self.digits)
        if self.method not in ("rtp", "info"):
            raise ConfigurationError(f"method is 'rtp' or 'info', not {self.method!r}")
        if not _is_number(self.duration_ms) or self.duration_ms < MINIMUM_DURATION_MS:
            raise ConfigurationError(
                f"duration_ms is {MINIMUM_DURATION_MS} or more, not {self.duration_ms!r}"
            )


@dataclass(frozen=True, slots=True)
class Transfer(Action):
    """Have the peer call somebody else (`Call.transfer`).

    Attributes:
        target: SIP URI, or a user name at the own domain.
    """

    word: ClassVar[str] = "transfer"
    target: str

    def __post_init__(self) -> None:
        target: object = self.target
        if not isinstance(target, str) or not target.strip():
            raise ConfigurationError(f"target is whom to call, not {target!r}")


@dataclass(frozen=True, slots=True)
class HangUp(Action):
    """End the call (`Call.bye`)."""

    word: ClassVar[str] = "hang-up"


_ACTIONS: Final[Mapping[str, type[Action]]] = {
    kind.word: kind
    for kind in (Hold, Resume, Rekey, UpdateMedia, Activate, SendDtmf, Transfer, HangUp)
}


# both


@dataclass(frozen=True, slots=True)
class Step:
    """A trigger and its action.

    Attributes:
        when: At which moment.
        then: What to do.
        timeout: Seconds until the action counts as failed.
    """

    when: AtTime | OnEvent
    then: Action
    timeout: float = USUAL_TIMEOUT

    def __post_init__(self) -> None:
        if not isinstance(self.when, AtTime | OnEvent):
            raise ConfigurationError(f"a step waits for AtTime or OnEvent, not {self.when!r}")
        if not isinstance(self.then, Action):
            raise ConfigurationError(f"a step does an Action, not {self.then!r}")
        _check_seconds("timeout", self.timeout, 0.001)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        rest = {} if self.timeout == USUAL_TIMEOUT else {"timeout": self.timeout}
        return self.when.to_dict() | self.then.to_dict() | rest

    def __str__(self) -> str:
        return f"{self.when}, {self.then}"

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """The step that `to_dict` made.

        Raises:
            ConfigurationError: It is none.
        """
        rest = _object(value)
        if ("at" in rest) == ("on" in rest):
            raise ConfigurationError('either "at" (seconds) or "on" (an event) says when')
        word = rest.pop("do", None)
        kind = _ACTIONS.get(word) if isinstance(word, str) else None
        if kind is None:
            raise ConfigurationError(f'"do" is one of {", ".join(_ACTIONS)}, not {word!r}')
        when: AtTime | OnEvent
        if "at" in rest:
            when = AtTime(rest.pop("at"))
        else:
            when = OnEvent(rest.pop("on"), rest.pop("digit", ""))
        timeout = rest.pop("timeout", USUAL_TIMEOUT)
        _refuse_unknown(rest, {field.name for field in fields(kind)})
        for field in fields(kind):
            if field.default is MISSING and field.name not in rest:
                raise ConfigurationError(f'{word} needs "{field.name}"')
        return cls(when, kind(**rest), timeout)


@dataclass(frozen=True, slots=True)
class ScenarioPlan:
    """What to do in a call: 1 to 30 steps.

    Steps run one after the other: in the order in which they fall due, and as they are written
    where that is the same moment. Each runs once at most.

    Attributes:
        steps: The steps.
        name: For people.
    """

    steps: tuple[Step, ...]
    name: str = ""

    def __post_init__(self) -> None:
        steps = tuple(self.steps)
        object.__setattr__(self, "steps", steps)
        if not 1 <= len(steps) <= MAX_STEPS:
            raise ConfigurationError(f"a scenario has 1 to {MAX_STEPS} steps, not {len(steps)}")
        for step in steps:
            if not isinstance(step, Step):
                raise ConfigurationError(f"a scenario has steps, not {step!r}")
        if not isinstance(self.name, str):
            raise ConfigurationError(f"the name of a scenario is text, not {self.name!r}")

    @property
    def seconds(self) -> float:
        """How long after the answer the last step falls due that waits for no event."""
        return max((s.when.seconds for s in self.steps if isinstance(s.when, AtTime)), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        steps = [step.to_dict() for step in self.steps]
        return ({"name": self.name} if self.name else {}) | {"steps": steps}

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """The plan that `to_dict` made.

        Raises:
            ConfigurationError: It is none; the message names the step, counted from 1.
        """
        rest = _object(value)
        steps, name = rest.pop("steps", None), rest.pop("name", "")
        _refuse_unknown(rest, {"name", "steps"})
        if not isinstance(steps, list):
            raise ConfigurationError('"steps" is a list of steps')
        made = []
        for number, step in enumerate(steps, 1):
            try:
                made.append(Step.from_dict(step))
            except ConfigurationError as error:
                raise ConfigurationError(f"step {number}: {error}") from None
        return cls(tuple(made), name)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The plan in a JSON document.

        Raises:
            ConfigurationError: It is not JSON, or no plan.
        """
        try:
            value = json.loads(text, object_pairs_hook=_pairs)
        except json.JSONDecodeError as error:
            raise ConfigurationError(
                f"not JSON: {error.msg} at line {error.lineno} column {error.colno}"
            ) from None
        except RecursionError:
            raise ConfigurationError("not JSON that can be read: it is nested too deep") from None
        return cls.from_dict(value)


def _pairs(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ConfigurationError(f'"{key}" is there twice in one object')
        found[key] = value
    return found


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"an object is wanted, not {value!r}")
    return dict(value)


def _refuse_unknown(rest: Mapping[str, Any], known: set[str]) -> None:
    for key in rest:
        if key not in known:
            choice = f": known are {', '.join(sorted(known))}" if known else ""
            raise ConfigurationError(f'"{key}" means nothing here{choice}')


def _check_digits(value: object) -> None:
    if not isinstance(value, str) or not value or set(value.upper()) - set(DIGITS):
        raise ConfigurationError(f"{value!r} are no DTMF digits: 0 to 9, *, #, A to D")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_seconds(name: str, value: object, least: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ConfigurationError(f"{name} is a number of seconds, not {value!r}")
    if not (math.isfinite(value) and least <= value <= MAX_SECONDS):
        raise ConfigurationError(f"{name} is {least:g} to {MAX_SECONDS:g} seconds, not {value!r}")
