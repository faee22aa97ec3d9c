"""docs/how-to/export-metrics.md does what it says."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "export-metrics.md"
PATIENCE = 20


@pytest.fixture
def blocks():
    return re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


async def answer(endpoint):
    incoming = await endpoint.next_call(PATIENCE)
    await incoming.answer()
    incoming.media.echo()
    await incoming.ended()


async def test_the_guide_to_exports_can_be_followed(
    make_endpoint, blocks, tmp_path, monkeypatch, capsys, standstill
):
    monkeypatch.chdir(tmp_path)
    measuring, judging, buffering, files, prometheus, summing_up, judging_all = blocks
    names = {}
    exec(measuring, names)
    bob = await make_endpoint("bob")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer(bob))
        names["reports"] = await names["measure"](str(bob.contact), 1)

    exec(judging, names)
    assert names["found"].judged >= 3
    assert bool(names["found"].breaches) == bool(capsys.readouterr().out)

    exec(buffering, names)
    assert names["DESK_PHONE"].delay == 0.06
    received = names["reports"][0].to_dict()["media"][0]["receive"]
    # A machine may stand still for half of the second: what comes after that is late.
    judged = [received[f"jitter_buffer_{how}"] for how in ("pushed", "late", "early", "duplicates")]
    assert sum(judged) == received["packets_received"] > 0
    assert received["jitter_buffer_target_delay_ms"] >= 20

    exec(files, names)
    (line,) = (tmp_path / "calls.jsonl").read_text().splitlines()
    report = json.loads(line)
    assert report["outcome"] == "SUCCESS"
    series = report["media"][0]["series"]
    assert len(series["send"]["at_ms"]) == len(series["receive"]["jitter_ms"]) >= 1
    assert max(series["receive"]["packets_recv_rate_ps"]) > 0
    with (tmp_path / "calls.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    # What was due while the machine stood still is left out; something is always sent.
    assert int(row["send_packets_sent"]) >= max(1, 45 - standstill.packets)

    exec(prometheus.replace("9464", "0"), names)
    server = names["server"]
    try:
        address = f"http://127.0.0.1:{server.server_port}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(address).read().decode())
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(names["thread"].join)
    assert 'callmeter_calls_total{call_result="answered"' in text
    assert 'callmeter_packets_sent_total{codec="PCMU",direction="send",keying="none"' in text

    names["calls"] = [SimpleNamespace(report=lambda: names["reports"][0])]
    exec(summing_up, names)
    assert names["summary"].asr == 1
    exec(judging_all, names)
    assert names["found"].judged == 3
