"""The codecs of the packet lane, by name.

What plays is encoded beforehand and what arrives is decoded on demand: the lane itself moves
payloads and never looks into them. So a codec is a name with two clocks and a maker of coders. An
audio codec has one payload a packet; what a codec of another kind would share with it is the
negotiated name (`callmeter.sdp.codecs.ENCODINGS`), not this class.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from callmeter.errors import ConfigurationError
from callmeter.media.codecs.audio import AudioCodec, Decoder, Encoder, G711Codec
from callmeter.media.codecs.g722 import G722Codec
from callmeter.media.codecs.opus import OpusCodec
from callmeter.rtp import g711

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AudioCodec", "Decoder", "Encoder", "find_codec", "silent_payload"]

_CODECS: Final[Mapping[str, AudioCodec]] = {
    codec.name.upper(): codec for codec in (*map(G711Codec, g711.Law), G722Codec(), OpusCodec())
}


@lru_cache
def silent_payload(codec: AudioCodec, samples: int) -> bytes:
    """Digital silence of so many samples, made once."""
    return codec.silent_frame(samples)


def find_codec(name: Any) -> AudioCodec:
    """The codec of this name, with the settings it has unless anybody asks for others.

    Raises:
        ConfigurationError: There is none.
    """
    codec = _CODECS.get(str(name).upper())
    if codec is None:
        known = ", ".join(known.name for known in _CODECS.values())
        raise ConfigurationError(f"codec {name} is not supported; known are {known}")
    return codec
