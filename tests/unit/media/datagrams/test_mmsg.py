"""The feature test of the back-end that calls the C library."""

from __future__ import annotations

import ctypes
import sys

from callmeter.media.datagrams import mmsg


def test_other_systems_and_other_libraries_do_without(monkeypatch):
    assert mmsg.available()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "platform", "darwin")
        assert mmsg._load() is None
    with monkeypatch.context() as patched:
        patched.setattr(ctypes, "CDLL", lambda *_, **__: object())
        assert mmsg._load() is None
