"""The usual shape of a message: one pattern that checks it and finds what identifies it.

The pattern takes a part of what the grammar takes and nothing else. What it finds on its way, the
branch, the tags, Call-ID and CSeq, is what transactions and dialogs are found by (RFC 3261 sections
12 and 17), so that a usual message is dealt with before any of its headers is looked at.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["USUAL_LINE_COUNT", "Found", "UsualLines", "match_request", "match_response"]

USUAL_LINE_COUNT: Final = 64
Found = re.Match[str]
"""A match whose groups are the fields of `UsualLines`, in their order."""


class UsualLines(NamedTuple):
    """What the pattern finds, all of it text; None where there is no such line or part.

    Attributes:
        first: Method, or status code.
        second: Request-URI, or reason phrase.
        lines: The header lines, each after its CRLF.
        more_vias: Not None where there is more than one Via line.
        via: The first Via behind its protocol, as it came.
        transport: Of the first Via, as the next five.
        host: Of sent-by.
        port: Of sent-by.
        before: Parameters before the branch.
        branch: The branch.
        after: Parameters behind the branch.
        from_: The From value after a blank.
        from_tag: Its tag.
        to: The To value after a blank.
        to_tag: Its tag.
        call_id: The Call-ID.
        number: Of CSeq.
        method: Of CSeq.
        length: Of the body, as Content-Length says.
        content_type: Not None where it is `application/sdp`.
        contact: The Contact, if there is one line of it.
        max_forwards: Not None where there is a Max-Forwards.
        single: Not None where there is one of some headers that may stand once.
        other_single: Likewise, of others.
        special: Not None where a line may ask for more than a plain answer: Require, Route ...
    """

    first: str
    second: str
    lines: str
    more_vias: str | None
    via: str
    transport: str
    host: str
    port: str | None
    before: str
    branch: str
    after: str
    from_: str
    from_tag: str | None
    to: str
    to_tag: str | None
    call_id: str
    number: str
    method: str
    length: str
    content_type: str | None
    contact: str | None
    max_forwards: str | None
    single: str | None
    other_single: str | None
    special: str | None


# No group may open before the name of its line: what fails once a group is open fails altogether,
# so that no other part of the pattern goes on with half a group.
# Two dots in a row, which no host may have, are looked for once in all that was matched.
_HOST = r"[A-Za-z0-9][A-Za-z0-9\-.]*+"
_PORT = r"(?:[0-5][0-9]{0,4}+|6[0-4][0-9]{3}|[6-9][0-9]{0,3}+)(?![0-9])"
_HOST_PORT = rf"{_HOST}(?::{_PORT})?+"
_TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]++"  # noqa: S105  a lexical token
_PARAM = rf"{_TOKEN}(?:={_TOKEN})?+"
_PARAMS = rf"(?:;{_PARAM})*+"
_USER = r"[A-Za-z0-9\-_.!~*'+]++"
_URI_PARAMS = rf"(?:;{_USER}(?:={_USER})?+)*+"
_BARE_URI = rf"sips?+:(?:{_USER}@)?+{_HOST_PORT}"
_URI = rf"{_BARE_URI}{_URI_PARAMS}"
_NAMED = rf'(?:"[^"\\\x00-\x1f\x7f]*+"\ ?+|[A-Za-z0-9\-.\ ]*+)<{_URI}>'


def _params_but(name: str) -> str:
    return rf"(?:;(?!(?i:{name})[=;\r]){_PARAM})*+"


def _tagged(group: str) -> str:
    return rf"{_NAMED}(?:;tag=(?P<{group}>{_TOKEN}))?{_params_but('tag')}"


_LINES = rf"""
(?P<lines>(?:\r\n(?:
    Via:\ SIP/2\.0/(?(via)[A-Z]++\ {_HOST_PORT}{_PARAMS}(?P<more_vias>)
      |(?P<via>(?P<transport>[A-Z]++)\ (?P<host>{_HOST})(?::(?P<port>{_PORT}))?
       (?P<before>{_params_but("branch")});branch=(?P<branch>{_TOKEN})
       (?P<after>{_params_but("branch")})))
  | From:(?(from_)(?!))(?P<from_>\ {_tagged("from_tag")})
  | To:(?(to)(?!))(?P<to>\ {_tagged("to_tag")})
  | C(?:all-ID:(?(call_id)(?!))\ (?P<call_id>[!-~]++)
      |Seq:(?(number)(?!))\ (?P<number>[0-9]{{1,9}})\ (?P<method>METHOD)
      |on(?:tent-(?:Length:(?(length)(?!))\ {{1,16}}+(?P<length>[0-9]{{1,5}})
              |Type:(?(content_type)(?!))\ application/sdp(?P<content_type>))
          |tact:(?(contact)(?!))\ (?P<contact>(?:{_NAMED}|{_BARE_URI}){_PARAMS})))
  | Max-Forwards:(?(max_forwards)(?!))\ [0-9]{{1,3}}(?P<max_forwards>)
  | (?:Allow|Supported|Subject|Server|User-Agent):[^\x00\n\r]*+
  | (?:(?:Session-Expires|Expires|Event|Refer-To|RAck|RSeq):(?(single)(?!))(?P<single>)[^\x00\n\r]*+
      |(?:Min-SE|Min-Expires|Referred-By|Replaces):(?(other_single)(?!))
       (?P<other_single>)[^\x00\n\r]*+
      |(?:Record-)?+Route:\ {_NAMED}{_PARAMS}
      |(?:Require|Proxy-Require|Content-Encoding|Join|Timestamp):[^\x00\n\r]*+)(?P<special>)
  | (?!(?i:via|from|to|call-id|cseq|contact|max-forwards|content-length|content-type
      |content-disposition|expires|session-expires|event|refer-to|rack|rseq|min-se|min-expires
      |referred-by|replaces|route|record-route|require|proxy-require|content-encoding|join
      |timestamp|[a-z])[\ \t:]) {_TOKEN}:[^\x00\n\r]*+
)){{5,{USUAL_LINE_COUNT}}}+)
\r\n\r\n
(?(via)|(?!))(?(from_)|(?!))(?(to)|(?!))(?(call_id)|(?!))(?(number)|(?!))(?(length)|(?!))
"""


def _compiled(start: str, method: str) -> Callable[[str], re.Match[str] | None]:
    """The pattern, whose conditions name groups that come later."""
    numbers = {name: number for number, name in enumerate(UsualLines._fields, 1)}
    whole = start + _LINES.replace("METHOD", method)
    pattern = re.sub(r"\(\?\((\w+)\)", lambda found: f"(?({numbers[found[1]]})", whole)
    return re.compile(pattern, re.VERBOSE | re.ASCII).match


match_request = _compiled(rf"(?P<first>[A-Z]{{1,32}})\ (?P<second>{_URI})\ SIP/2\.0", "(?P=first)")
"""The match of a request, by the groups of `UsualLines`; None says nothing about it."""

match_response = _compiled(
    r"SIP/2\.0\ (?P<first>[1-6][0-9]{2})\ (?P<second>[ -~]*+)", "[A-Z]{1,32}"
)
"""The match of a response, by the groups of `UsualLines`; None says nothing about it."""
