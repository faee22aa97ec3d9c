"""SIP over WebSocket: the two sides back to back, and each against what a stranger may send."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.config import TlsConfig
from callmeter.errors import ConfigurationError, ConnectionFailed, FlowLost
from callmeter.sip.transaction.effects import Hop
from callmeter.transport.tls import TlsLayer
from callmeter.transport.tls_settings import TlsSettings
from callmeter.transport.websocket import (
    ClientWebSocket,
    ServerWebSocket,
    client_layers,
    invalid_contact_host,
    server_layers,
)

HOP = Hop("WS", "192.0.2.1", 8080)
MESSAGE = b"OPTIONS sip:example.com SIP/2.0\r\nCSeq: 1 OPTIONS\r\n\r\n"
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KEY = base64.b64encode(bytes(16)).decode()
REQUEST = {
    "Host": "192.0.2.1:8080",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "sip",
}


def frame(opcode, data=b"", *, fin=True, masked=True, mask=b"\x01\x02\x03\x04"):
    """A frame made without the library under the layer."""
    head = bytes([(0x80 if fin else 0) | opcode])
    flag = 0x80 if masked else 0
    if len(data) < 126:
        head += bytes([flag | len(data)])
    elif len(data) < 65_536:
        head += bytes([flag | 126]) + struct.pack("!H", len(data))
    else:
        head += bytes([flag | 127]) + struct.pack("!Q", len(data))
    if not masked:
        return head + data
    return head + mask + bytes(octet ^ mask[i % 4] for i, octet in enumerate(data))


def request(line="GET / HTTP/1.1", **changes):
    """A handshake request; `None` leaves a header out, `_` in a name stands for `-`."""
    headers = dict(REQUEST)
    for name, value in changes.items():
        headers[name.replace("_", "-")] = value
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def opened(**options):
    """A client and a server with an open WebSocket between them."""
    client, server = ClientWebSocket(HOP), ServerWebSocket(**options)
    assert server.start() == b""
    client.receive(server.receive(client.start()).outgoing)
    assert client.established
    assert server.established
    return client, server


def answer_to(client, *, status="101 Switching Protocols", accept=None, protocol="sip", more=""):
    """An HTTP answer to this client's request."""
    server = ServerWebSocket()
    true = server.receive(client.start()).outgoing.decode().split("\r\n")
    found = next(line.split(": ")[1] for line in true if line.startswith("Sec-WebSocket-Accept"))
    lines = [f"HTTP/1.1 {status}", "Upgrade: websocket", "Connection: Upgrade"]
    lines.append(f"Sec-WebSocket-Accept: {accept or found}")
    if protocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    return ("\r\n".join(lines) + f"\r\n{more}\r\n").encode()


# the handshake


def test_the_request_offers_sip_and_no_extension():
    lines = ClientWebSocket(HOP, resource="/ws?tenant=1").start().decode().split("\r\n")
    assert lines[0] == "GET /ws?tenant=1 HTTP/1.1"
    assert "Host: 192.0.2.1:8080" in lines
    assert "Sec-WebSocket-Protocol: sip" in lines
    assert "Sec-WebSocket-Version: 13" in lines
    assert not any(line.startswith(("Sec-WebSocket-Extensions", "Origin")) for line in lines)


@pytest.mark.parametrize(
    ("hop", "host"),
    [
        (Hop("WSS", "192.0.2.1", 443, name="sip.example.com"), "sip.example.com"),
        (Hop("WS", "192.0.2.1", 443, name="sip.example.com"), "sip.example.com:443"),
        (Hop("WS", "192.0.2.1", 80), "192.0.2.1"),
        (Hop("WSS", "2001:db8::1", 8443), "[2001:db8::1]:8443"),
    ],
)
def test_the_host_header_names_who_was_asked_for(hop, host):
    assert f"\r\nHost: {host}\r\n".encode() in ClientWebSocket(hop).start()


def test_an_origin_is_said_when_it_is_given():
    client = ClientWebSocket(HOP, origin="https://example.com")
    assert b"\r\nOrigin: https://example.com\r\n" in client.start()


@pytest.mark.parametrize("resource", ["", "ws", "/a b", "/a\r\nX: y", "/a#b", "/\xe9"])
@pytest.mark.parametrize("side", [lambda r: ClientWebSocket(HOP, resource=r), None])
def test_a_resource_that_is_no_path_is_refused(resource, side):
    make = side or (lambda r: ServerWebSocket(resource=r))
    with pytest.raises(ConfigurationError):
        make(resource)


def test_both_sides_are_established_once_the_answer_is_read():
    client, server = ClientWebSocket(HOP), ServerWebSocket()
    assert not client.established
    answer = server.receive(client.start())
    assert server.established
    assert not client.established
    assert answer.outgoing.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nSec-WebSocket-Protocol: sip\r\n" in answer.outgoing
    assert b"Sec-WebSocket-Extensions" not in answer.outgoing
    assert client.receive(answer.outgoing).outgoing == b""
    assert client.established


def test_a_handshake_may_come_octet_by_octet():
    client, server = ClientWebSocket(HOP), ServerWebSocket()
    answer = b"".join(server.receive(bytes([octet])).outgoing for octet in client.start())
    for octet in answer:
        assert not client.established
        client.receive(bytes([octet]))
    assert client.established


def test_messages_right_behind_the_handshake_are_taken():
    client, server = ClientWebSocket(HOP), ServerWebSocket()
    answer = server.receive(client.start()).outgoing + server.send(MESSAGE)
    assert client.receive(answer).data == (MESSAGE,)
    early = ServerWebSocket().receive(request() + frame(TEXT, MESSAGE))
    assert early.data == (MESSAGE,)
    assert early.outgoing.startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("404 Not Found", "server does not support WebSocket at /: 404 Not Found"),
        ("200 OK", "server does not support WebSocket at /: 200 OK"),
        ("501 Not Implemented", "server does not support WebSocket at /: 501 Not Implemented"),
        ("401 Who", "server wants HTTP credentials for the WebSocket: 401 Who"),
        ("407 ", "server wants HTTP credentials for the WebSocket: 407"),
        ("403 No", "server forbids the WebSocket: 403 No"),
        ("301 Moved", "server sends the WebSocket elsewhere: 301 Moved"),
        ("503 Busy\x1b[0m", "server cannot serve the WebSocket now: 503 Busy[0m"),
        ("500", "server cannot serve the WebSocket now: 500"),
    ],
)
def test_any_status_but_101_is_said_in_words(status, words):
    client = ClientWebSocket(HOP)
    client.start()
    head = f"HTTP/1.1 {status}\r\nContent-Length: 1000\r\n\r\n".encode()
    with pytest.raises(ConnectionFailed) as caught:
        client.receive(head)
    assert str(caught.value) == f"WS 192.0.2.1:8080: {words}"
    assert caught.value.destination == "WS 192.0.2.1:8080"
    assert client.close() == b""


@pytest.mark.parametrize("protocol", [None, "msrp", "sip, msrp", "SIP"])
def test_a_server_that_does_not_echo_sip_is_refused(protocol):
    client = ClientWebSocket(HOP)
    with pytest.raises(ConnectionFailed, match="peer does not speak SIP over WebSocket"):
        client.receive(answer_to(client, protocol=protocol))
    assert not client.established


@pytest.mark.parametrize(
    "broken",
    [
        {"accept": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
        {"more": "Sec-WebSocket-Extensions: permessage-deflate\r\n"},
        {"more": "no header\r\n"},
    ],
)
def test_an_answer_against_the_rules_of_the_handshake_is_refused(broken):
    client = ClientWebSocket(HOP)
    with pytest.raises(ConnectionFailed, match="server does not support WebSocket: "):
        client.receive(answer_to(client, **broken))
    assert not client.established


@pytest.mark.parametrize(
    "answer",
    [b"SIP/2.0 400 Bad Request\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b"HTTP/1.1 ab\r\n\r\n"],
)
def test_a_server_that_does_not_speak_http_is_found_out_at_once(answer):
    client = ClientWebSocket(HOP)
    client.start()
    with pytest.raises(ConnectionFailed, match="does not speak HTTP"):
        client.receive(answer)


@pytest.mark.parametrize("beginning", [b"", b"HT", b"HTTP/1.1 101 Switching Protocols\r\nX: "])
def test_a_server_that_hangs_up_on_the_handshake_does_not_support_websocket(beginning):
    client = ClientWebSocket(HOP)
    client.start()
    if beginning:
        client.receive(beginning)
    with pytest.raises(ConnectionFailed, match="server does not support WebSocket: it closed"):
        client.receive(b"")


def test_a_handshake_that_takes_too_long_names_the_handshake():
    error = ClientWebSocket(HOP).timed_out("timed out after 10 s")
    assert str(error) == (
        "WS 192.0.2.1:8080: no answer to the WebSocket handshake: timed out after 10 s"
    )
    assert isinstance(error, ConnectionFailed)


@pytest.mark.parametrize("whole", [False, True])
def test_a_head_of_more_than_16_kib_is_refused_by_both_sides(whole):
    lines = b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(17))
    end = b"\r\n" if whole else b""
    client = ClientWebSocket(HOP)
    client.start()
    with pytest.raises(ConnectionFailed, match="more than 16384 octets"):
        client.receive(b"HTTP/1.1 101 Switching Protocols\r\n" + lines + end)
    server = ServerWebSocket()
    with pytest.raises(ConnectionFailed, match="431"):
        server.receive(request()[:-2] + lines + end)
    assert server.close().startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("GET /other HTTP/1.1"), b"404"),
        (request("POST / HTTP/1.1"), b"405"),
        (request("GET / HTTP/1.0"), b"505"),
        (request("OPTIONS sip:example.com SIP/2.0"), b"400"),
        (request("GET /" + "x" * 9000 + " HTTP/1.1"), b"414"),
        (request(X="x" * 9000), b"431"),
        (request(Upgrade=None), b"426"),
        (request(Upgrade="h2c"), b"426"),
        (request(Connection="close"), b"426"),
        (request(Host=None), b"400"),
        (request(Sec_WebSocket_Key=None), b"400"),
        (request(Sec_WebSocket_Key="short"), b"400"),
        (request(Sec_WebSocket_Version=None), b"400"),
        (request(Sec_WebSocket_Version="8"), b"426"),
        (request(Sec_WebSocket_Protocol=None), b"400"),
        (request(Sec_WebSocket_Protocol="msrp"), b"400"),
        (request(Content_Length="5"), b"400"),
    ],
)
def test_a_request_that_is_no_sip_websocket_is_answered_and_refused(sent, status):
    server = ServerWebSocket()
    with pytest.raises(ConnectionFailed, match="WebSocket request refused"):
        server.receive(sent)
    answer = server.close()
    assert answer.startswith(b"HTTP/1.1 " + status + b" ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert not server.established
    assert server.close() == b""


def test_a_refusal_says_what_would_do_instead():
    def refusal(sent):
        server = ServerWebSocket()
        with pytest.raises(ConnectionFailed):
            server.receive(sent)
        return server.close()

    assert b"\r\nAllow: GET\r\n" in refusal(request("POST / HTTP/1.1"))
    assert b"\r\nUpgrade: websocket\r\n" in refusal(request(Upgrade=None))
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in refusal(request(Sec_WebSocket_Version="8"))


def test_nothing_of_a_refused_request_is_sent_back():
    server = ServerWebSocket()
    with pytest.raises(ConnectionFailed):
        server.receive(request(Sec_WebSocket_Key="<script>"))
    assert b"script" not in server.close()


@pytest.mark.parametrize("line", ["GET / HTTP/1.1", "GET /?a=b HTTP/1.1"])
def test_a_query_is_not_part_of_the_path_that_is_served(line):
    assert ServerWebSocket().receive(request(line)).outgoing.startswith(b"HTTP/1.1 101 ")


def test_a_server_without_a_path_serves_every_path():
    server = ServerWebSocket(resource=None)
    assert server.receive(request("GET /any/where HTTP/1.1")).outgoing.startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("origins", "origin", "welcome"),
    [
        (None, "https://evil.example", True),
        (None, None, True),
        (["https://example.com"], "https://example.com", True),
        (["https://example.com"], "https://evil.example", False),
        (["https://example.com"], None, False),
        (["https://example.com", None], None, True),
        ([], "https://example.com", False),
    ],
)
def test_only_welcome_origins_are_let_in(origins, origin, welcome):
    server = ServerWebSocket(origins=origins)
    if welcome:
        assert server.receive(request(Origin=origin)).outgoing.startswith(b"HTTP/1.1 101 ")
        return
    with pytest.raises(ConnectionFailed):
        server.receive(request(Origin=origin))
    assert server.close().startswith(b"HTTP/1.1 403 ")


def test_compression_is_never_agreed_on():
    server = ServerWebSocket()
    answer = server.receive(request(Sec_WebSocket_Extensions="permessage-deflate")).outgoing
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"Extensions" not in answer


# messages


def test_one_message_goes_in_one_frame_each_way():
    client, server = opened()
    assert server.receive(client.send(MESSAGE)).data == (MESSAGE,)
    wire = server.send(MESSAGE)
    assert wire == frame(TEXT, MESSAGE, masked=False)
    received = client.receive(wire)
    assert received.data == (MESSAGE,)
    assert not received.closed
    assert not received.pending


def test_what_is_not_utf8_is_sent_as_binary():
    _, server = opened()
    assert server.send(b"caf\xc3\xa9")[0] == 0x80 | TEXT
    assert server.send(b"caf\xe9")[0] == 0x80 | BINARY


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.data())
def test_messages_arrive_whole_however_they_are_cut(messages, data):
    client, server = opened()
    wire = b"".join(map(client.send, messages))
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=8))
    found = []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(wire)], strict=True):
        found += server.receive(wire[start:end]).data
    assert found == messages


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_fragmented_message_is_put_together(opcode):
    _, server = opened()
    assert server.receive(frame(opcode, MESSAGE[:5], fin=False)).data == ()
    between = server.receive(frame(PING, b"here?"))
    assert between.outgoing == frame(PONG, b"here?", masked=False)
    assert between.pending
    assert server.receive(frame(CONT, MESSAGE[5:20], fin=False)).pending
    received = server.receive(frame(CONT, MESSAGE[20:]) + frame(opcode, b"next"))
    assert received.data == (MESSAGE, b"next")
    assert not received.pending


def test_a_character_may_be_cut_between_fragments():
    _, server = opened()
    text = "é".encode()
    assert server.receive(frame(TEXT, text[:1], fin=False)).data == ()
    assert server.receive(frame(CONT, text[1:])).data == (text,)


def test_a_message_that_comes_octet_by_octet_is_pending_until_it_is_whole():
    client, server = opened()
    *most, last = client.send(MESSAGE)
    assert all(server.receive(bytes([octet])).pending for octet in most)
    received = server.receive(bytes([last]))
    assert received.data == (MESSAGE,)
    assert not received.pending


def test_a_message_of_64_kib_is_taken_and_a_longer_one_ends_with_1009():
    client, server = opened()
    assert server.receive(client.send(b"x" * 65_536)).data == (b"x" * 65_536,)
    head = client.send(b"x" * 65_537)[:14]
    received = server.receive(head)
    assert received.outgoing[2:4] == (1009).to_bytes(2, "big")
    assert received.closed
    assert isinstance(received.error, FlowLost)
    assert "65537" in str(received.error)


def test_fragments_of_more_than_64_kib_end_with_1009():
    _, server = opened()
    server.receive(frame(TEXT, b"x" * 40_000, fin=False))
    received = server.receive(frame(CONT, b"x" * 30_000))
    assert received.data == ()
    assert received.outgoing[2:4] == (1009).to_bytes(2, "big")


@pytest.mark.parametrize("parts", [[b"\xff"], [b"\xc3", b"x"], [b"caf\xe9"]])
def test_text_that_is_not_utf8_ends_with_1007(parts):
    _, server = opened()
    *most, last = parts
    for number, part in enumerate(most):
        server.receive(frame(CONT if number else TEXT, part, fin=False))
    received = server.receive(frame(CONT if most else TEXT, last))
    assert received.data == ()
    assert received.outgoing[2:4] == (1007).to_bytes(2, "big")
    assert "not UTF-8" in str(received.error)


@pytest.mark.parametrize(
    "wire",
    [
        frame(TEXT, MESSAGE, masked=False),
        frame(CONT, MESSAGE),
        frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),
        frame(0x3, b"reserved"),
        b"\xc1\x80\x00\x00\x00\x00",
        frame(PING, bytes(126)),
        frame(PING, b"x", fin=False),
        frame(CLOSE, b"x"),
    ],
    ids=["unmasked", "no-start", "two-starts", "opcode", "rsv1", "long", "cut", "close"],
)
def test_a_frame_against_the_rules_ends_with_1002(wire):
    _, server = opened()
    received = server.receive(wire)
    assert received.data == ()
    assert received.outgoing[2:4] == (1002).to_bytes(2, "big")
    assert "broke the WebSocket protocol" in str(received.error)


def test_a_masked_frame_of_a_server_ends_with_1002():
    client, _ = opened()
    received = client.receive(frame(TEXT, MESSAGE))
    assert received.closed
    assert received.data == ()


def test_messages_before_a_broken_frame_are_delivered():
    _, server = opened()
    received = server.receive(frame(TEXT, MESSAGE) + frame(TEXT, b"\xff") + frame(TEXT, MESSAGE))
    assert received.data == (MESSAGE,)
    assert received.error is not None


@given(st.binary(max_size=200))
def test_no_octets_raise_anything_but_transport_errors(octets):
    _, server = opened()
    server.receive(octets)
    for layer in (ServerWebSocket(), ClientWebSocket(HOP)):
        try:
            layer.receive(octets + b"\r\n\r\n")
        except ConnectionFailed:
            continue


# pings


def test_a_ping_is_answered_by_the_peer_and_noticed():
    client, server = opened()
    ping = client.ping()
    answered = server.receive(ping)
    assert not answered.pong
    received = client.receive(answered.outgoing)
    assert received.pong
    assert received.data == ()
    assert received.outgoing == b""


def test_only_a_pong_to_the_last_ping_counts():
    client, server = opened()
    first = server.receive(client.ping()).outgoing
    second = server.receive(client.ping()).outgoing
    assert not client.receive(first).pong
    assert not client.receive(frame(PONG, b"anything", masked=False)).pong
    assert client.receive(second + frame(PONG, b"", masked=False)).pong


def test_there_is_no_ping_before_the_handshake_is_done():
    client = ClientWebSocket(HOP)
    client.start()
    assert client.ping() is None


# the end


def test_a_close_is_answered_and_told_after_the_messages():
    client, server = opened()
    received = server.receive(client.send(MESSAGE) + client.close())
    assert received.data == (MESSAGE,)
    assert received.closed
    assert "closed by the peer: 1000" in str(received.error)
    assert received.outgoing == frame(CLOSE, (1000).to_bytes(2, "big"), masked=False)
    assert client.receive(received.outgoing).closed
    assert client.close() == server.close() == b""


def test_a_close_without_a_reason_is_answered():
    _, server = opened()
    received = server.receive(frame(CLOSE))
    assert received.outgoing == frame(CLOSE, masked=False)
    assert received.closed


def test_nothing_is_sent_on_a_closed_websocket():
    client, _ = opened()
    client.close()
    with pytest.raises(FlowLost, match="8080: WebSocket connection is closing"):
        client.send(MESSAGE)


def test_a_close_before_the_handshake_says_nothing():
    client, server = ClientWebSocket(HOP), ServerWebSocket()
    client.start()
    assert client.close() == server.close() == b""


def test_octets_after_the_end_are_passed_over():
    client, server = opened()
    server.receive(client.close())
    assert server.receive(frame(TEXT, MESSAGE)).data == ()


# names


def test_a_contact_host_is_random_and_never_resolves():
    first = invalid_contact_host(lambda count: bytes(range(count)))
    assert first == "000102030405060708090a0b.invalid"
    assert invalid_contact_host(lambda count: b"\xff" * count) != first


# stacked on TLS


def test_plain_websocket_has_no_tls_under_it():
    [client] = client_layers(HOP, resource="/ws")
    assert isinstance(client, ClientWebSocket)
    assert client.start().startswith(b"GET /ws ")
    [server] = server_layers(None)
    assert isinstance(server, ServerWebSocket)


def test_secure_websocket_stands_on_tls_that_asks_for_the_domain():
    hop = Hop("WSS", "192.0.2.1", 443, name="sip.example.com")
    tls, web = client_layers(hop, TlsSettings.of(TlsConfig()))
    assert isinstance(tls, TlsLayer)
    assert b"sip.example.com" in tls.start()
    assert b"Host: sip.example.com\r\n" in web.start()


def test_secure_websocket_without_tls_settings_is_refused():
    with pytest.raises(ConfigurationError, match="WSS needs TLS settings"):
        client_layers(Hop("WSS", "192.0.2.1", 443))


def test_a_secure_server_without_a_certificate_is_refused():
    with pytest.raises(ConfigurationError):
        server_layers(TlsSettings.of(TlsConfig()))
