"""SIP without I/O: messages, transactions, dialogs as pure state machines (RFC 3261).

The names exported here are documented entry points of lower stability than those of
`callmeter` itself:

- `parse_message(data)` turns one datagram into a `Request` or `Response` that is checked:
  it has one well-formed Via, From, To, Call-ID and CSeq at least.
- `parse_uri(text)` turns one URI into a `SipUri`, `TelUri` or `OtherUri`.
- `Headers` is the ordered multimap of header lines that messages hold; names are compared
  without case, and compact forms equal long ones.

Only `SipSyntaxError` leaves the parsers, whatever the octets:

```python
from callmeter.sip import parse_message

request = parse_message(datagram)
print(request.method, request.uri, request.from_.uri, request.headers.get("Subject"))
answer = request.create_response(486, to_tag="8f3a").to_bytes()
```

Nothing here opens a socket, reads a clock or makes a random number.
"""

from __future__ import annotations

from callmeter.sip.message import Headers, Request, Response
from callmeter.sip.parser import parse_message
from callmeter.sip.uri import parse_uri

__all__ = ["Headers", "Request", "Response", "parse_message", "parse_uri"]
