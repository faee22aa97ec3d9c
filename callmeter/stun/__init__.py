"""STUN (RFC 8489) without any I/O: keep-alives of SIP flows, connectivity checks of media."""
