from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.stun.binding import (
    binding_request,
    binding_success,
    is_stun,
    mapped_address,
    response_to,
)

VECTORS = Path(__file__).parents[2] / "vectors" / "stun_rfc5769.json"
SAMPLES = json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]
TRANSACTION = bytes(range(12))


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample["section"] for sample in SAMPLES])
def test_the_messages_of_rfc_5769_are_read(sample):
    data = bytes.fromhex(sample["hex"])
    assert is_stun(data)
    mapped = mapped_address(data)
    if "mapped" not in sample:
        assert (mapped, response_to(data)) == (None, None)
    else:
        host, port = mapped
        assert sample["mapped"] in {f"{host}:{port}", f"[{host}]:{port}"}
        assert response_to(data) == data[8:20]


def test_a_request_has_no_attributes():
    request = binding_request(TRANSACTION)
    assert request == bytes.fromhex("000100002112a442") + TRANSACTION
    assert is_stun(request)
    assert response_to(request) is None


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_answer_tells_the_source_of_the_request(host):
    answer = binding_success(binding_request(TRANSACTION), host, 32_853)
    assert is_stun(answer)
    assert response_to(answer) == TRANSACTION
    assert mapped_address(answer) == (host, 32_853)
    assert binding_success(answer, host, 32_853) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"OPTIONS sip:a@b SIP/2.0\r\n\r\n",
        binding_request(TRANSACTION)[:-1],
        binding_request(TRANSACTION) + b"\0\0\0\0",
        bytes(20),
        bytes.fromhex("000100032112a442") + bytes(15),
    ],
)
def test_what_is_no_stun_message_is_left_alone(data):
    assert not is_stun(data)


@pytest.mark.parametrize(
    "value", ["", "0001", "00030000c0000201", "0001a147e112a6", "0002a147e112a643"]
)
def test_a_broken_address_is_no_address(value):
    octets = bytes.fromhex(value)
    attribute = b"\x00\x20" + len(octets).to_bytes(2, "big") + octets
    attribute += bytes(-len(attribute) % 4)
    head = b"\x01\x01" + len(attribute).to_bytes(2, "big") + bytes.fromhex("2112a442")
    assert mapped_address(head + TRANSACTION + attribute) is None


@given(st.binary(max_size=60))
def test_any_attributes_are_read_without_an_exception(attributes):
    attributes += bytes(-len(attributes) % 4)
    head = b"\x01\x01" + len(attributes).to_bytes(2, "big") + bytes.fromhex("2112a442")
    data = head + TRANSACTION + attributes
    assert is_stun(data)
    mapped = mapped_address(data)
    assert mapped is None or len(mapped) == 2
