"""Random changes of bytes, JSON, safetensors files, SentencePiece models and texts.

Every function takes the random generator first, so that a seed repeats a case.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

ESCAPES = "\x1b[2J\x1b]0;title\x07\nsecond line\r\u202e\x9b31m"
"""Text that would change a terminal or break a one-line message."""

NUMBERS = (0, -1, 1, 2, 5, 255, 2**16, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64, 10**400, -(2**63))
FLOATS = (0.0, -0.0, 0.5, 1e-320, 1e-45, 1e6, 1e7, 3e38, 1e308, -1e308, math.inf, math.nan)


DEEP = "\ue000"
"""Starts a text that `json_of` replaces by so many lists in lists: json.dumps can't write them."""


def any_value(rng: Random) -> Any:
    """A value of any type that JSON has."""
    makers: list[Callable[[], Any]] = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.choice(NUMBERS),
        lambda: rng.choice(FLOATS),
        lambda: rng.choice(("", "a", "es", "english", "paper", "\ud800", "a\0", ESCAPES)),
        lambda: rng.choice("aé\u0301\U0001f600") * 10 ** rng.randrange(6),
        lambda: [],
        lambda: {},
        lambda: f"{DEEP}{rng.choice((1, 40, 300, 900, 940, 960, 980, 100_000))}",
        lambda: [any_value(rng) for _ in range(rng.randrange(4))],
        lambda: {str(any_value(rng))[:50]: any_value(rng)},
        lambda: list(range(rng.randrange(100_000))),
        lambda: [rng.choice(("a", "b", "\ud800")) for _ in range(3)],
    ]
    return rng.choice(makers)()


def change_bytes(rng: Random, data: bytes, other: bytes = b"") -> bytes:
    """Flip, overwrite, cut, copy, insert or remove a few bytes.

    Parameters
    ----------
    rng : Random
    data : bytes
    other : bytes, optional
        Where spliced bytes may come from, beside `data` itself.
    """
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(changed) + 1)
        size = min(len(changed) - at, rng.choice((1, 2, 4, 8, 64, 1024)))
        kind = rng.randrange(7)
        if kind == 0 and size:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at : at + size] = rng.randbytes(size)
        elif kind == 2:
            number = rng.choice(NUMBERS) & (2**64 - 1)
            changed[at : at + size] = number.to_bytes(8, "little")[:size]
        elif kind == 3:
            del changed[at:]
        elif kind == 4:
            del changed[at : at + size]
        elif kind == 5:
            source = rng.choice((data, other or data))
            start = rng.randrange(len(source) + 1)
            changed[at:at] = source[start : start + rng.choice((1, 8, 64, 1024))]
        else:
            value = struct.pack("<f", float(np.float32(rng.choice(FLOATS[:8] + FLOATS[10:]))))
            changed[at - at % 4 : at - at % 4 + 4] = value
    return bytes(changed)


def change_json(rng: Random, data: bytes) -> bytes:
    """Replace, remove, add or rename a few values of a JSON document."""
    content = [json.loads(data)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        place, key = rng.choice(list(_places(content)))
        kind = rng.randrange(6)
        if kind <= 2:
            place[key] = any_value(rng)
        elif kind == 3 and place is not content:
            del place[key]
        elif kind == 4 and isinstance(place, dict):
            place[str(any_value(rng))[:1000]] = place.pop(key)
        elif isinstance(place, list) and place is not content:
            place.insert(rng.randrange(len(place) + 1), rng.choice((place[key], any_value(rng))))
        else:
            place[key] = near(rng, place[key])
    text = json_of(content[0], ensure_ascii=rng.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def json_of(value: Any, *, ensure_ascii: bool = True) -> str:
    """JSON of a value, with lists in lists where the value has a text that starts with `DEEP`."""
    text = json.dumps(value, ensure_ascii=ensure_ascii)

    def brackets(found: re.Match[str]) -> str:
        depth = int(found[1])
        return "[" * depth + "]" * depth

    return re.sub(r'"(?:\\ue000|\ue000)(\d+)"', brackets, text)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """All containers in a value, each with each of its keys; deep ones as often as high ones."""
    level = [value]
    while level:
        below = []
        for part in level:
            keys = list(part) if isinstance(part, dict) else range(min(len(part), 30))
            for key in keys:
                yield part, key
                if isinstance(part[key], dict | list):
                    below.append(part[key])
        level = below


def near(rng: Random, value: Any) -> Any:
    """A value that resembles another one."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + rng.choice((-1, 1, 2**32)) if rng.random() < 0.7 else float(value)
    if isinstance(value, float):
        return value * rng.choice((-1.0, 0.0, 1e300))
    if isinstance(value, str):
        return value[: len(value) // 2] + rng.choice(("", "\0", " ", ESCAPES, value))
    if isinstance(value, list):
        return rng.choice((value[::-1], value[:1], value + value, [*value, None]))
    return [value]


def change_arrays(rng: Random, data: bytes) -> bytes:
    """Change the arrays or the header of a safetensors file; what it says stays consistent or not.

    Half of the files are well-formed and hold arrays of other shapes, types or numbers.
    """
    if rng.random() < 0.4:
        return _change_header(rng, data)
    arrays = safetensors.numpy.load(data)
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(sorted(arrays))
        array = arrays[name].copy()
        kind = rng.randrange(7)
        if kind == 0:
            arrays[name] = _reshaped(rng, array)
        elif kind == 1:
            arrays[name] = array.astype(rng.choice(("f2", "f4", "f8", "i1", "i4", "u4", "u8")))
        elif kind <= 3 and array.size:
            with np.errstate(over="ignore", invalid="ignore"):
                number = np.array(rng.choice((*FLOATS, 127, -128))).astype(array.dtype)
            flat = array.reshape(-1)
            flat[rng.randrange(len(flat)) if rng.random() < 0.7 else slice(None)] = number
            arrays[name] = array
        elif kind == 4 and array.size:
            arrays[name] = array[::-1].copy()
        elif kind == 5:  # such as the bytes of another library's file
            changed = change_bytes(rng, array.tobytes())[: array.nbytes].ljust(array.nbytes, b"\0")
            arrays[name] = np.frombuffer(changed, array.dtype).reshape(array.shape)
        else:
            name = rng.choice(("x", "idf", "hashes", "scale", ESCAPES, name))
            arrays[name] = array
    return safetensors.numpy.save(arrays)


def _reshaped(rng: Random, array: Any) -> Any:
    """The same numbers with fewer or more rows or columns, or of another rank."""
    shape = list(array.shape)
    axis = rng.randrange(len(shape))
    shape[axis] = max(0, rng.choice((0, 1, shape[axis] - 1, shape[axis] + 1, 2 * shape[axis])))
    wanted = rng.choice((shape, shape, shape, shape[::-1], [1, *shape], [math.prod(shape)]))
    return np.resize(array, wanted)


def _change_header(rng: Random, data: bytes) -> bytes:
    size = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + size], data[8 + size :]
    kind = rng.randrange(4)
    if kind == 0:
        header = change_bytes(rng, header)
    elif kind == 1:
        body = change_bytes(rng, body)
    else:
        header = change_json(rng, header)
    if rng.random() < 0.8:
        header += b" " * (-len(header) % 8)
    length = len(header) if rng.random() < 0.9 else rng.choice(NUMBERS) & (2**64 - 1)
    return length.to_bytes(8, "little") + header + body


class Field(NamedTuple):
    """A field of a protobuf message: its number, its wire type and its content."""

    number: int
    wire: int
    value: Any


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def read_fields(data: bytes) -> list[Field]:
    """Split a well-formed protobuf message into its fields."""

    def number_at(at: int) -> tuple[int, int]:
        number = shift = 0
        while data[at] > 127:
            number |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
        return number | data[at] << shift, at + 1

    fields = []
    at = 0
    while at < len(data):
        tag, at = number_at(at)
        if tag & 7 == 0:
            value, at = number_at(at)
            fields.append(Field(tag >> 3, 0, value))
            continue
        size = {1: 8, 5: 4}.get(tag & 7, -1)
        if size < 0:
            size, at = number_at(at)
        fields.append(Field(tag >> 3, tag & 7, data[at : at + size]))
        at += size
    return fields


def write_fields(fields: list[Field]) -> bytes:
    """The protobuf message of fields."""
    parts = []
    for number, wire, value in fields:
        parts.append(_varint(number << 3 | wire))
        if wire == 0:
            parts.append(_varint(value))
        else:
            parts.append((_varint(len(value)) if wire == 2 else b"") + value)
    return b"".join(parts)


def change_model(rng: Random, data: bytes) -> bytes:
    """Change the fields of a SentencePiece model: pieces, scores, types, trainer, normaliser."""
    fields = read_fields(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(fields)) if rng.random() < 0.7 else len(fields) - rng.randrange(1, 3)
        kind = rng.randrange(7)
        if kind == 0:
            del fields[at]
        elif kind == 1:
            fields.insert(at, rng.choice(fields))
        elif kind == 2:
            fields.append(_charsmap(rng))
        elif kind == 3:
            fields[at] = Field(rng.randrange(1, 7), 2, fields[at].value)
        elif kind == 4:
            piece = rng.choice((b"a" * 10 ** rng.randrange(6), b"\xff\xfe", ESCAPES.encode(), b""))
            fields.insert(at, Field(1, 2, write_fields([Field(1, 2, piece)])))
        else:
            fields[at] = Field(fields[at].number, 2, _changed_message(rng, fields[at].value))
    return write_fields(fields) if rng.random() < 0.95 else change_bytes(rng, data)


def _changed_message(rng: Random, data: bytes) -> bytes:
    """Change one field of a piece, of the trainer's or of the normaliser's settings."""
    try:
        fields = read_fields(data)
        at = rng.randrange(len(fields))
    except (IndexError, ValueError):
        return change_bytes(rng, data)
    number, wire, value = fields[at]
    if wire == 0:
        value = rng.choice((0, 1, 2, 3, 4, 5, 6, 99, 2**31, 2**64 - 1))
    elif wire == 5:
        value = struct.pack("<f", float(np.float32(rng.choice(FLOATS[:8] + FLOATS[10:]))))
    elif rng.random() < 0.5:
        value = change_bytes(rng, value)
    else:
        number = rng.randrange(1, 50)
    fields[at] = Field(number, wire, value)
    if rng.random() < 0.3:  # such as the type of the model
        fields.append(Field(rng.choice((3, 4, 24, 35, 40, 41)), 0, rng.randrange(5)))
    return write_fields(fields)


def _charsmap(rng: Random) -> Field:
    """Settings of a normaliser with a compiled map, a trie that SentencePiece walks unchecked."""
    units = 256 * rng.randrange(1, 4)
    trie = [rng.getrandbits(32) if rng.random() < 0.5 else 0 for _ in range(units)]
    blob = struct.pack(f"<I{units}I", 4 * units, *trie) + b"abc\0"
    name = Field(1, 2, b"nmt_nfkc")
    return Field(rng.choice((3, 5)), 2, write_fields([name, Field(2, 2, blob)]))


_ALPHABETS = (
    "abcxyz 0123456789.,-",
    "áñüçÅÆßİıſ™½ﬁⅧ①",
    "\u0301\u0303\u0306\u0345\u0f71\u0f72\u093c\u1161\u11a8\u3099",
    "\0\t\n\r\x0b\x1c\x85\u00a0\u2028\u3000 ",
    "\ud800\udfff\ufffe\uffff\U0010ffff\u200d\u202e\ufe0f\ufeff",
    "漢字かなカナ한글ไทยעבריתعربيहिन्दी",
    "😀👩🏽\u200d🚀🏳️\u200d🌈",
)


def any_title(rng: Random) -> str:
    """A title of any Unicode text, sometimes long."""
    length = rng.choice((0, 1, 2, 5, 20, 60, 200)) if rng.random() < 0.98 else 10_000
    letters = rng.choice((*_ALPHABETS, "".join(_ALPHABETS), None))
    if letters is None:
        return "".join(chr(rng.randrange(0x110000)) for _ in range(length))
    return "".join(rng.choice(letters) for _ in range(length))
