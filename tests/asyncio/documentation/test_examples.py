"""The programs in examples/ run as they are, in an empty folder."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
PATIENCE = 60
TRIES = 5
HELD_UP_S = 0.3
"""When the machine stood still for so long, a stack turns calls away: it is run once more."""
LATEST = re.compile(r"latest call +([\d.]+) ms after its time")
PRINTED = {
    "secure_call.py": ("SUCCESS", "SECURE: SDES"),
    "silent_call.py": ("tag_length", "-> Enable both"),
    "voice_menu.py": ("menu heard 1\nmenu heard 2\nmenu heard #", "heard.wav"),
    "capture.py": ("call.pcapng: SUCCESS",),
    "transfer.py": ("transfer: 200", "alice spoke to 127.0.0.1:"),
    "rekey.py": ("lost 0 unreadable 0",),
    "many_calls.py": ("ASR 100.0%", "SUCCESS 50"),
}


async def run(folder, name, *words):
    """What the program printed on stdout and stderr, and its exit status."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / name), *words, cwd=folder, stdout=pipe, stderr=pipe
    )
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode(), err.decode(), process.returncode


def lateness(out):
    """By how many seconds the program was late, as it says itself."""
    found = LATEST.search(out)
    return float(found[1]) / 1000 if found else 0.0


@pytest.mark.parametrize("name", PRINTED)
async def test_the_example_prints_what_it_promises(name, tmp_path, standstill):
    for _ in range(TRIES):
        lost = standstill.seconds
        out, err, status = await run(tmp_path, name)
        held_up = max(standstill.seconds - lost, lateness(out)) >= HELD_UP_S
        if not held_up or all(text in out for text in PRINTED[name]):
            break
    assert (err, status) == ("", 0)
    for text in PRINTED[name]:
        assert text in out


@pytest.mark.parametrize("method", ["dtls", "dual"])
async def test_the_secure_call_takes_the_keying_as_an_argument(method, tmp_path):
    out, err, status = await run(tmp_path, "secure_call.py", method)
    assert (err, status) == ("", 0)
    assert "SECURE: DTLS" in out


async def test_the_call_through_a_server_says_in_a_line_what_is_wrong(tmp_path):
    words = ("sip:alice@nowhere.invalid", "s3cret", "sip:600@nowhere.invalid")
    out, err, status = await run(tmp_path, "register_and_call.py", *words)
    assert (out, status) == ("", 1)
    assert err.startswith("ResolutionFailed: ")
    assert err.count("\n") == 1


def test_every_example_is_run_here():
    there = {path.name for path in EXAMPLES.glob("*.py")}
    assert there == {*PRINTED, "register_and_call.py"}
