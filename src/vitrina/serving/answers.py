"""The forms of titles and vectors on the wire: JSON, base64 and Arrow."""

from __future__ import annotations

import struct
from binascii import b2a_base64
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from vitrina.encoder.vector_file import ENCODER_METADATA, VECTOR
from vitrina.serving.refusals import Refusal
from vitrina.serving.service_options import ENCODER_NAME, Limits

ARROW = "application/vnd.apache.arrow.stream"

# Numbers of the fields in the tables of Arrow's Message.fbs
_MESSAGE_HEADER = 2
_BATCH_COMPRESSION = 3


def checked_titles(given: Any, limits: Limits, field: str = "input") -> list[str]:
    """Return the titles of a request as a list.

    Parameters
    ----------
    given : object
        A string or a list of strings, from JSON.
    limits : Limits
    field : str, optional
        Name of the field, for messages.

    Raises
    ------
    Refusal
        400 for ids of tokens, 413 for too many titles, 422 for anything else.
    """
    titles = [given] if isinstance(given, str) else given
    if not isinstance(titles, list) or not titles:
        raise Refusal(422, f"{field}: must be a title or a list of titles")
    if isinstance(titles[0], int | list):
        raise Refusal(
            400,
            f"{field}: holds ids of another model's tokens, which this encoder can't read; send "
            "text (in LangChain: check_embedding_ctx_length=False)",
        )
    _check_count(len(titles), limits, field)
    for row, title in enumerate(titles):
        if not isinstance(title, str):
            raise Refusal(422, f"{field}: title {row} is not text; send strings")
        if len(title) > limits.title_length:
            _refuse_length(row, len(title), limits, field)
    return titles


def embeddings_json(vectors: npt.NDArray[np.float32], as_base64: bool, digest: str) -> bytes:
    """Return vectors in the form of OpenAI's embeddings.

    Parameters
    ----------
    vectors : ndarray of shape (n, width), float32
    as_base64 : bool
        Whether a vector is the base64 of its little-endian bytes. Otherwise it is a list of the
        shortest decimals that give the same float32.
    digest : str
        Of the encoder.
    """
    data: list[dict[str, Any]] = []
    for row, vector in enumerate(vectors.astype("<f4", copy=False)):
        value = b2a_base64(vector, newline=False).decode() if as_base64 else vector
        data.append({"object": "embedding", "index": row, "embedding": value})
    answer = {
        "object": "list",
        "data": data,
        "model": ENCODER_NAME,
        # nobody pays by tokens here; clients require the field
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
        "encoder": digest,
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def titles_from_arrow(body: bytes, limits: Limits) -> pa.ChunkedArray:
    """Read an Arrow IPC stream with one column of text.

    Parameters
    ----------
    body : bytes
        From anyone: nothing in it is trusted.
    limits : Limits

    Returns
    -------
    pyarrow.ChunkedArray of strings
        Null stands for a missing title.

    Raises
    ------
    Refusal
        413 for too many titles, 422 for anything else.
    """
    try:
        column = _read_column(body, limits)
    except (pa.ArrowException, OSError, ValueError, struct.error, StopIteration):
        raise Refusal(
            422, "the body is no Arrow IPC stream, or a damaged one; send a stream, not a file"
        ) from None
    if len(column):
        lengths = pc.utf8_length(column)
        longest = pc.max(lengths).as_py() or 0
        if longest > limits.title_length:
            row = pc.index(lengths, longest).as_py()
            _refuse_length(row, longest, limits, "column")
    return column


def arrow_stream(vectors: npt.NDArray[np.float32], digest: str) -> memoryview:
    """Return vectors as an Arrow IPC stream with one column `vector`.

    Parameters
    ----------
    vectors : ndarray of shape (n, width), float32
    digest : str
        Of the encoder; the metadata of the schema hold it.
    """
    width = vectors.shape[1]
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
    schema = pa.schema([(VECTOR, column.type)], {ENCODER_METADATA: digest})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(pa.record_batch([column], schema=schema))
    return memoryview(sink.getvalue())


def _check_count(count: int, limits: Limits, field: str) -> None:
    if count > limits.titles:
        raise Refusal(
            413,
            f"{field}: has {count:,} titles, more than {limits.titles:,}; send them in several "
            "requests",
        )


def _refuse_length(row: int, length: int, limits: Limits, field: str) -> None:
    raise Refusal(
        422,
        f"{field}: title {row} has {length:,} characters, more than {limits.title_length:,}; "
        "shorten it",
    )


def _read_column(body: bytes, limits: Limits) -> pa.ChunkedArray:
    messages = pa.ipc.MessageReader.open_stream(pa.BufferReader(body))
    schema = pa.ipc.read_schema(messages.read_next_message())
    if len(schema) != 1 or not _is_text(schema.types[0]):
        raise Refusal(422, "the stream must have one column of strings, the titles; select it")
    parts = []
    count = 0
    for message in messages:
        # Compressed text could take a thousand times the memory of the body.
        if message.type != "record batch" or _is_compressed(message.metadata.to_pybytes()):
            raise Refusal(
                422, "the stream has compressed or dictionary-encoded batches; send plain ones"
            )
        batch = pa.ipc.read_record_batch(message, schema)
        count += len(batch)
        _check_count(count, limits, "the stream")
        batch.validate(full=True)  # text that is not UTF-8 would reach the kernels
        parts.append(batch.column(0).cast(pa.large_string()))
    return pa.chunked_array(parts, pa.large_string())


def _is_text(dtype: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or dtype == pa.string_view()
    )


def _is_compressed(metadata: bytes) -> bool:
    """Whether the metadata of a record batch, a flatbuffer, name a compression."""
    message = _pointer(metadata, 0)
    header = _field(metadata, message, _MESSAGE_HEADER)
    return _field(metadata, _pointer(metadata, header), _BATCH_COMPRESSION) != 0


def _pointer(data: bytes, at: int) -> int:
    """The place that a flatbuffer's offset at `at` points to."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytes, table: int, number: int) -> int:
    """The place of a field of a flatbuffer's table; 0 if the table doesn't have it."""
    layout = table - struct.unpack_from("<i", data, table)[0]
    slot = 4 + 2 * number
    if slot >= struct.unpack_from("<H", data, layout)[0]:
        return 0
    offset = struct.unpack_from("<H", data, layout + slot)[0]
    return table + int(offset) if offset else 0
