"""Certificates for one test: an authority, what it issued, and what is wrong on purpose."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("example.test", "localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Certificates:
    """An authority of its own, and one that nobody trusts."""

    authority: trustme.CA = field(default_factory=trustme.CA)
    stranger: trustme.CA = field(default_factory=trustme.CA)

    @property
    def ca(self) -> str:
        """PEM of the authority."""
        return self.authority.cert_pem.bytes().decode("ascii")

    def client(self, *, trusted: bool = True) -> tuple[str, str]:
        """PEM of a client certificate and of its key."""
        return _pem((self.authority if trusted else self.stranger).issue_cert("client.invalid"))

    def server(self, *names: str) -> tuple[str, str]:
        """PEM of a server certificate and of its key."""
        return _pem(self.authority.issue_cert(*(names or NAMES)))

    def write(self, folder: Path) -> None:
        """The servers' files: ca.pem, and good, expired, wrong-name, untrusted as .pem and .key."""
        self.authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        for name, issued in {
            "good": self.authority.issue_cert(*NAMES),
            "expired": self.authority.issue_cert(*NAMES, not_after=yesterday),
            "wrong-name": self.authority.issue_cert("other.invalid"),
            "untrusted": self.stranger.issue_cert(*NAMES),
        }.items():
            chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
            (folder / f"{name}.pem").write_bytes(chain)
            issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))


def _pem(issued: trustme.LeafCert) -> tuple[str, str]:
    chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
    return chain.decode("ascii"), issued.private_key_pem.bytes().decode("ascii")
