"""The interop matrix: how its rows become the tables of the documentation."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "interop_matrix.py"
CALLED = {
    "peer": "baresip",
    "role": "callee",
    "keying": "dtls",
    "suite": "AEAD_AES_128_GCM",
    "profile": "UDP/TLS/RTP/SAVP",
    "rtcp_mux": True,
    "rtcp": False,
    "note": "",
    "result": "passed",
    "test": "test_it",
}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("interop_matrix", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(script, *rows):
    matrix = {"peers": {"baresip": "1.0"}, "rows": list(rows)}
    title, blank, _, _, *table = script.render(matrix).splitlines()
    assert (title, blank) == ("### baresip 1.0", "")
    return table


def test_both_directions_of_one_keying_share_a_line(script):
    calling = CALLED | {"role": "caller", "rtcp": True}
    [line] = lines(script, CALLED, calling)
    assert line.startswith("| DTLS | AEAD_AES_128_GCM | UDP/TLS/RTP/SAVP | on the media port,")
    assert line.endswith(" round trip told | heard | heard |  |")


def test_a_direction_that_failed_once_has_failed(script):
    [line] = lines(script, CALLED, CALLED | {"result": "failed"})
    assert line.endswith("| **failed** |  |  |")


def test_keyings_are_in_order_and_apart(script):
    found = lines(script, CALLED, CALLED | {"keying": "sdes"}, CALLED | {"rtcp_mux": False})
    assert [line.split(" | ")[0] for line in found] == ["| SDES", "| DTLS", "| DTLS"]
    assert "on its own port" in found[1]
