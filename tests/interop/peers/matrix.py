"""The interop matrix: which peer was spoken to how, and whether it went well."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pytest

PROPERTY: Final = "interop"
PACKAGES: Final = {
    "baresip": "baresip-core",
    "chromium": "chromium",
    "gstreamer": "gstreamer1.0-plugins-bad",
    "janus": "janus",
    "linphone": "linphone-cli",
    "rtpengine": "rtpengine-daemon",
}
"""Debian package of each peer; the others come from the Python package index."""


class Matrix:
    """Gathers the rows of a run and writes them when it is over.

    Args:
        file: Where to write them, as JSON.
    """

    def __init__(self, file: str) -> None:
        self._file = Path(file)
        self._rows: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the rows of a test that has run."""
        if report.when == "call":
            result = report.outcome
            self._rows += [
                {**row, "result": result, "test": report.nodeid}
                for name, row in report.user_properties
                if name == PROPERTY
            ]

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        peers = sorted({row["peer"] for row in self._rows})
        rows = sorted(self._rows, key=lambda row: json.dumps(row, sort_keys=True))
        matrix = {"peers": {peer: version(peer) for peer in peers}, "rows": rows}
        self._file.write_text(json.dumps(matrix, indent=1) + "\n", encoding="utf-8")


def version(peer: str) -> str:
    """The installed version of a peer."""
    package = PACKAGES.get(peer)
    if package is None:
        return f"{importlib.metadata.version(peer)} (PyPI)"
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{done.stdout} (Debian)" if done.returncode == 0 else "unknown"
