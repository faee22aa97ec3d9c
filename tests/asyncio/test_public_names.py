"""What `import callmeter` gives, and what it does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import callmeter

HEAVY = ("numpy", "cryptography", "aiortc", "dns", "websockets", "asyncio", "callmeter.call")


def imported_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after a statement."""
    code = f"{statement}; import sys; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(told.stdout.split())


@pytest.mark.parametrize("name", callmeter.__all__)
def test_every_public_name_is_there(name):
    assert getattr(callmeter, name).__module__.startswith("callmeter.")


def test_no_name_is_listed_twice_and_all_are_told_to_dir():
    assert len(set(callmeter.__all__)) == len(callmeter.__all__)
    assert set(callmeter.__all__) <= set(dir(callmeter))


def test_the_pure_packages_are_there_without_an_import_of_their_own():
    assert callmeter.sip.parse_message is not None
    assert callmeter.sdp.parse_description is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Phone'"):
        _ = callmeter.Phone


def test_the_import_alone_costs_next_to_nothing():
    assert imported_by("import callmeter").isdisjoint(HEAVY)
