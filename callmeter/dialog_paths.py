"""DialogPaths: the connection each dialog keeps to (RFC 5923 section 5, RFC 5626 section 5.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from callmeter.sip.next_hop import default_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.sip.message import Request
    from callmeter.sip.transaction.effects import Hop
    from callmeter.sip.uri import SipUri

__all__ = ["DialogPath", "DialogPaths"]


@dataclass(slots=True)
class DialogPath:
    """How the messages of one dialog travel.

    Attributes:
        hop: Where its INVITE went, or came from.
        flow: The connection the peer opened, if it did.
        advertised: Host and port the proxy at the other end of `flow` says it has; None when
            the peer itself is there.
    """

    hop: Hop
    flow: Hop | None = None
    advertised: tuple[str, int] | None = None


class DialogPaths:
    """The ways of the dialogs of one stack, by Call-ID.

    Args:
        alive: Whether the connection that a hop names is still open.
    """

    def __init__(self, alive: Callable[[Hop], bool]) -> None:
        self._alive = alive
        self._paths: dict[str, DialogPath] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, call_id: str) -> bool:
        return call_id in self._paths

    def get(self, call_id: str) -> DialogPath | None:
        """The way of the dialog of this Call-ID."""
        return self._paths.get(call_id)

    def begin(self, call_id: str, hop: Hop) -> None:
        """The INVITE of a dialog of ours leaves for `hop`."""
        self._paths[call_id] = DialogPath(hop)

    def follow(self, request: Request, source: Hop) -> None:
        """Remember how a dialog came here, until `forget`."""
        if source.connection is None:
            self._paths[request.call_id] = DialogPath(source)
            return
        known = self._paths.get(request.call_id)
        name = source.name if known is None else known.hop.name
        vias = request.vias
        via = vias[0]
        # With one Via the peer itself is at the other end, with more it is a proxy that has to
        # be the next hop anyway.
        advertised = None if len(vias) == 1 else (via.host, via.port or default_port(source))
        path = DialogPath(replace(source, name=name), source, advertised)
        self._paths[request.call_id] = path

    def forget(self, call_id: str) -> None:
        """The dialog of this Call-ID is over."""
        self._paths.pop(call_id, None)

    def clear(self) -> None:
        """Forget every dialog."""
        self._paths.clear()

    def flow_of(self, call_id: str, target: SipUri) -> Hop | None:
        """The connection of a request in a dialog, when the next hop is at its other end.

        A peer behind address translation, or one that only connects out, is reached no other
        way.
        """
        path = self._paths.get(call_id)
        if path is None or path.flow is None or not self._alive(path.flow):
            return None
        here = (target.host, target.port or default_port(path.flow))
        if path.advertised is not None and path.advertised != here:
            return None
        return path.flow
