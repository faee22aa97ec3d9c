"""ICE on the ports of one media stream: checks answered, the peer's choice of a pair carried out.

It stands between a stream and its DTLS. Where ICE was agreed on, only who has proved by a check
that it knows our password gets through to the handshake (RFC 8842 section 5.1), and the handshake
follows the peer from pair to pair without knowing of it: to DTLS the peer is one place, `peer_of`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from callmeter.errors import DtlsTimeout, TransportError
from callmeter.media.events import ConsentExpired
from callmeter.rtp.demux import PacketKind
from callmeter.sdp.ice import IceDescription, host_candidate
from callmeter.stun.ice_lite import CONSENT_SECONDS, IceCredentials, IceLite

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.media.dtls_session import Control
    from callmeter.media.rtp_stream import RtpStream
    from callmeter.sdp.attributes import Attribute
    from callmeter.sdp.remote_track import RemoteTrack

__all__ = ["RTCP", "RTP", "IceSession", "peer_of", "runs_checks"]

Address = tuple[str, int]

RTP: Final = 1
RTCP: Final = 2
"""Component numbers (RFC 8839 section 5.1)."""


def peer_of(component: int) -> Address:
    """What DTLS takes for the address of the peer, whatever pair its packets take."""
    return ("ICE", component)


class IceSession:
    """The lite agent on a stream's ports, from the first description to the end of the call.

    Attributes:
        agent: Credentials, pairs and counters.
        active: Whether the peer runs checks: it has ICE and is no lite agent itself.
        stray_datagrams: DTLS of those who have proved nothing, dropped.

    Args:
        stream: Whose ports they are, from now on.
        entropy: Gives random octets.
        on_selected: Called when the peer has chosen another pair.
    """

    def __init__(
        self,
        stream: RtpStream,
        entropy: Callable[[int], bytes],
        on_selected: Callable[[], None],
    ) -> None:
        self.agent = IceLite(entropy)
        self.active = False
        self.stray_datagrams = 0
        self._stream = stream
        self._on_selected = on_selected
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._controls: dict[int, Control] = {}
        self._heard: dict[int, Address] = {}
        self._waiting: dict[int, bytes] = {}
        stream.set_control(partial(self._on_datagram, RTP))
        stream.set_control(partial(self._on_datagram, RTCP), rtcp=True)

    # descriptions

    def describe(self, address: str, *, rtcp_mux: bool) -> tuple[Attribute, ...]:
        """The lines of an own description.

        Args:
            address: Where media is received.
            rtcp_mux: Whether it was agreed on; an offer has candidates for both components.
        """
        candidates = [host_candidate(RTP, address, self._stream.port)]
        if not rtcp_mux and self._stream.rtcp_port != self._stream.port:
            candidates.append(host_candidate(RTCP, address, self._stream.rtcp_port))
        local = self.agent.local
        return IceDescription(local.ufrag, local.password, tuple(candidates)).attributes

    def accept_offer(self, track: RemoteTrack) -> bool:
        """Take what an offer says of ICE; whether the answer speaks of it too."""
        self.active = runs_checks(track)
        if track.ice_description is not None and not track.ice_description.mismatch:
            self.agent.accept_offer(_credentials(track.ice_description))
            return True
        return False

    def accept_answer(self, track: RemoteTrack) -> None:
        """Take what an answer says of ICE."""
        self.active = runs_checks(track)
        if self.active and track.ice_description is not None:
            for component in self.agent.accept_answer(_credentials(track.ice_description)):
                self._flush(component)

    def explained(self, error: DtlsTimeout) -> DtlsTimeout:
        """A handshake that got no answer, with what ICE knows of the way to the peer."""
        chosen, checks = self.destination(RTP), self.agent.statistics.checks
        evidence = {**error.evidence, "peer": chosen, "ice_checks": checks}
        if chosen is None:
            return DtlsTimeout(
                f"no DTLS handshake: the peer chose no way by ICE ({checks} checks came)",
                evidence=evidence,
            )
        return DtlsTimeout(str(error), evidence=evidence)

    def destination(self, component: int) -> Address | None:
        """Where the peer wants the component's packets, None while it has not said."""
        return self.agent.selected(component)

    # the port, as DTLS sees it

    def set_control(self, control: Control | None, *, rtcp: bool = False) -> None:
        """Pass the DTLS of the peer to a callback."""
        component = RTCP if rtcp else RTP
        if control is None:
            self._controls.pop(component, None)
        else:
            self._controls[component] = control

    def send_datagram(self, datagram: bytes, destination: Address, *, rtcp: bool = False) -> bool:
        """Send DTLS to the peer; what comes before there is a pair waits for it."""
        component = RTCP if rtcp else RTP
        if destination != peer_of(component):
            if self.active:
                return False
            return self._stream.send_datagram(datagram, destination, rtcp=rtcp)
        where = self.agent.selected(component) or self._heard.get(component)
        if where is None:
            # The last one is enough: a flight that is lost is sent again.
            self._waiting[component] = datagram
            return False
        return self._stream.send_datagram(datagram, where, rtcp=rtcp)

    def close(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # what comes in

    def _on_datagram(self, component: int, kind: PacketKind, data: bytes, source: Address) -> None:
        if kind is PacketKind.STUN:
            self._on_check(component, data, source)
            return
        control = self._controls.get(component)
        if kind is not PacketKind.DTLS or control is None:
            return
        if self.agent.is_proven(component, source):
            self._heard[component] = source
            control(kind, data, peer_of(component))
        elif self.active:
            self.stray_datagrams += 1
        else:
            # There is no answer yet, or it is one without ICE.
            control(kind, data, source)

    def _on_check(self, component: int, data: bytes, source: Address) -> None:
        result = self.agent.on_datagram(data, source, component, self._loop.time())
        if result.answer is not None:
            self._send(component, result.answer, source)
        if result.selected:
            self._flush(component)
            self._on_selected()
        self._rearm()

    def _flush(self, component: int) -> None:
        """Send what has waited for a pair."""
        waiting, where = self._waiting.pop(component, None), self.agent.selected(component)
        if waiting is not None and where is not None:
            self._send(component, waiting, where)

    def _send(self, component: int, datagram: bytes, where: Address) -> None:
        try:
            self._stream.send_datagram(datagram, where, rtcp=component == RTCP)
        except TransportError:
            return  # lost like any datagram: it is asked for again

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        for component in self.agent.on_deadline(now):
            where = self.agent.selected(component) or peer_of(component)
            self._stream.tell(ConsentExpired(at=now, peer=where, seconds=CONSENT_SECONDS))
        self._rearm()

    def _rearm(self) -> None:
        at = self.agent.next_deadline()
        if self._timer is not None and self._timer.when() != at:
            self._timer.cancel()
            self._timer = None
        if at is not None and self._timer is None:
            self._timer = self._loop.call_at(at, self._on_timer)


def runs_checks(track: RemoteTrack) -> bool:
    """Whether the peer finds its way here by ICE: it has it and is no lite agent itself."""
    found = track.ice_description
    return found is not None and not found.lite and not found.mismatch


def _credentials(found: IceDescription) -> IceCredentials:
    return IceCredentials(found.ufrag, found.password)
