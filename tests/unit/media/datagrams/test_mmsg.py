"""The feature test of the back-end that calls the C library."""

from __future__ import annotations

import ctypes
import sys

import numpy as np

from callmeter.media.datagrams import mmsg


def test_the_tables_have_the_layout_of_the_kernel():
    assert mmsg.MESSAGE.itemsize == 64
    assert mmsg.VECTOR.itemsize == 16
    assert mmsg.CONTROL.fields["seconds"][1] == 16
    assert mmsg.CONTROL.fields["dropped"][1] == 48
    assert np.dtype(mmsg.CONTROL).itemsize == 56


def test_other_systems_and_other_libraries_do_without(monkeypatch):
    assert mmsg.available()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "platform", "darwin")
        assert mmsg._load() is None
    with monkeypatch.context() as patched:
        patched.setattr(ctypes, "CDLL", lambda *_, **__: object())
        assert mmsg._load() is None
