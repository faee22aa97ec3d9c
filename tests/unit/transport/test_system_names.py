"""The hosts file, the name servers of the machine, and how name servers are written."""

from __future__ import annotations

import os

import pytest

from callmeter.errors import ConfigurationError
from callmeter.transport.system_names import SystemNames, parse_name_server

HOSTS = """\
127.0.0.1 localhost
# a comment
192.0.2.1\tPBX.example.com pbx  # trailing
2001:db8::1 pbx
192.0.2.2 pbx.
not-an-address pbx
192.0.2.3
"""
RESOLV_CONF = """\
; written by hand
search example.com
nameserver 192.0.2.53
nameserver
nameserver 2001:db8::53
nameserver dns.example.com
nameserver 192.0.2.53
options ndots:2
"""


@pytest.fixture
def names(tmp_path):
    (tmp_path / "hosts").write_text(HOSTS)
    (tmp_path / "resolv.conf").write_text(RESOLV_CONF)
    return SystemNames(tmp_path / "hosts", tmp_path / "resolv.conf")


async def test_the_hosts_file_gives_addresses_by_family(names):
    await names.refresh(0.0)
    assert names.addresses("pbx", "A") == ("192.0.2.1", "192.0.2.2")
    assert names.addresses("pbx", "AAAA") == ("2001:db8::1",)
    assert names.addresses("pbx.example.com", "AAAA") == ()
    assert names.knows("pbx.example.com")
    assert not names.knows("example.com")
    assert names.addresses("example.com", "A") == ()


async def test_localhost_is_known_without_a_file(tmp_path):
    names = SystemNames(tmp_path / "none", tmp_path / "none either")
    await names.refresh(0.0)
    assert names.servers == ()
    assert names.knows("localhost")
    assert names.knows("phone.localhost")
    assert not names.knows("localhost.example.com")
    assert names.addresses("phone.localhost", "A") == ("127.0.0.1",)
    assert names.addresses("localhost", "AAAA") == ("::1",)


async def test_the_name_servers_are_those_of_resolv_conf_each_once(names):
    assert names.servers == ()
    await names.refresh(0.0)
    assert names.servers == (("192.0.2.53", 53), ("2001:db8::53", 53))


async def test_a_changed_file_is_read_again_after_a_while(names, tmp_path):
    await names.refresh(0.0)
    (tmp_path / "hosts").write_text("192.0.2.77 pbx\n")
    os.utime(tmp_path / "hosts", (1, 1))
    await names.refresh(4.9)
    assert names.addresses("pbx", "A") == ("192.0.2.1", "192.0.2.2")
    await names.refresh(5.0)
    assert names.addresses("pbx", "A") == ("192.0.2.77",)


async def test_an_unchanged_file_is_not_read_again(names, tmp_path, monkeypatch):
    await names.refresh(0.0)
    monkeypatch.setattr("callmeter.transport.system_names._read", None)
    await names.refresh(10.0)
    assert names.knows("pbx")


async def test_a_hosts_file_of_octets_that_are_no_text_is_no_trouble(tmp_path):
    (tmp_path / "hosts").write_bytes(b"192.0.2.1 \xff\xfe\x00 ok\n\xd9\xa1.2.3.4 no\n")
    names = SystemNames(tmp_path / "hosts", tmp_path / "none")
    await names.refresh(0.0)
    assert names.addresses("ok", "A") == ("192.0.2.1",)
    assert not names.knows("no")


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("dns.example.com", ("dns.example.com", 53)),
        ("localhost:5353", ("localhost", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]", ("2001:db8::53", 53)),
        ("[2001:db8::53]:65535", ("2001:db8::53", 65535)),
    ],
)
def test_a_name_server_is_a_host_with_or_without_a_port(text, server):
    assert parse_name_server(text) == server


@pytest.mark.parametrize(
    "text",
    [
        *("", ":53", "host:", "a:b:c", "[::1", "[::1]x", "[::1]53", "[]:53"),
        *("two words", "ho\nst", "dns/path", "h\N{LATIN SMALL LETTER O WITH DIAERESIS}st"),
        *("host:0", "host:65536", "host:53x", "host:+5", "host:00005353", "host:" + "9" * 5000),
        "host:\N{ARABIC-INDIC DIGIT FIVE}",
    ],
)
def test_what_is_no_name_server_is_refused(text):
    with pytest.raises(ConfigurationError, match="name server"):
        parse_name_server(text)
