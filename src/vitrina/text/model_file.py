"""Checks of a SentencePiece model that may come from a stranger.

SentencePiece is written in C++ and trusts parts of its models. Only what `TitleTokenizer.train`
writes is accepted: a unigram model without a compiled map of characters, which some versions walk
without checking bounds, and without pieces so long that encoding takes quadratic time.
"""

from __future__ import annotations

from collections.abc import Iterator

# fields of the protobuf messages, see sentencepiece_model.proto
_PIECE = 1
_TRAINER = 2
_NORMALIZERS = (3, 5)  # before encoding, and after decoding
_SELF_TEST = 4
_MODEL_TYPE = 3
_UNIGRAM = 1
_CHARSMAP = 2

_LONGEST_PIECE = (
    1_024  # bytes, with its score and type; `TitleTokenizer.train` needs fewer than 100
)

# wire types of protobuf
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def check_model(model: bytes) -> None:
    """Check a serialised SentencePiece model before the library reads it.

    Parameters
    ----------
    model : bytes

    Raises
    ------
    ValueError
        With the reason, if the model isn't one that `TitleTokenizer.train` could have written.
    """
    try:
        for number, value in _fields(model, _after_short_pieces(model)):
            _check_field(number, value)
    except IndexError:
        raise ValueError("is cut short") from None


def _after_short_pieces(model: bytes) -> int:
    """Where the first field begins that isn't a piece of fewer than 128 bytes.

    Nearly all fields are such pieces, so they are passed over quickly.
    """
    tag = _PIECE << 3 | _LENGTH
    at = 0
    end = len(model) - 1
    while at < end and model[at] == tag and model[at + 1] < 128:
        at += 2 + model[at + 1]
    return at


def _check_field(number: int, value: int | bytes) -> None:
    if isinstance(value, int):
        return
    if number == _PIECE and len(value) > _LONGEST_PIECE:
        raise ValueError("has a piece that is too long")
    if number == _SELF_TEST:
        raise ValueError("has test data of its own")
    if number == _TRAINER:
        for part, setting in _fields(value):
            # an enumeration has 32 bits
            if (
                part == _MODEL_TYPE
                and isinstance(setting, int)
                and setting & (2**32 - 1) != _UNIGRAM
            ):
                raise ValueError("is no unigram model")
    if number in _NORMALIZERS:
        for part, setting in _fields(value):
            if part == _CHARSMAP and isinstance(setting, bytes) and setting:
                raise ValueError("has a compiled map of characters")


def _fields(message: bytes, at: int = 0) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message from a place on: numbers, and integers or bytes.

    Raises
    ------
    ValueError, IndexError
        If the message is malformed or ends within a field.
    """
    if at > len(message):
        raise IndexError
    while at < len(message):
        tag, at = _varint(message, at)
        if tag >= 2**32:
            raise ValueError("has a malformed field")
        wire = tag & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        sizes = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}
        if wire == _LENGTH:
            size, at = _varint(message, at)
        elif wire in sizes:
            size = sizes[wire]
        else:
            raise ValueError("has a malformed field")
        if at + size > len(message):
            raise IndexError
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Read an integer of variable length; returns it and where the next field begins."""
    number = 0
    for shift in range(0, 70, 7):  # at most 10 bytes
        byte = message[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise ValueError("has a malformed field")
