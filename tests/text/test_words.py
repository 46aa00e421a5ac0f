"""The hash table of words, compared with a Python dictionary."""

from __future__ import annotations

import numpy as np
import pytest

from vitrina.errors import InputError
from vitrina.ragged import Ragged
from vitrina.text.words import Words

PAD = 0


def with_pieces(words: Words, keys: list[bytes], pieces: list[list[int]]) -> Words:
    """A table with further words, without vectors."""
    no_vectors = np.empty((len(keys), 0), np.int16)
    return words.with_words(Ragged.from_bytes(keys), Ragged.from_lists(pieces), no_vectors)


def looked_up(words: Words, titles: list[bytes]) -> list[list[int] | None]:
    """Pieces of each title; None if a word is unknown."""
    text = Ragged.from_bytes(titles)
    found, lengths = words.look_up(text)
    known = np.flatnonzero(lengths >= 0)
    text = text.take(known)
    found, lengths = words.look_up(text)
    pieces = words.pieces_of(text, found, lengths, PAD)
    rows: list[list[int] | None] = [None] * len(titles)
    for row, its in zip(known.tolist(), pieces, strict=True):
        rows[row] = its.tolist()
    return rows


def test_a_dictionary_of_words() -> None:
    rng = np.random.default_rng(0)
    made = {bytes(rng.integers(97, 103, rng.integers(1, 9)).tolist()) for _ in range(9_000)}
    made |= {"ñandú".encode(), bytes([0, 255]), b"a" * 300}
    pieces = {word: rng.integers(1, 99, rng.integers(0, 5)).tolist() for word in made}
    titles = [
        rng.choice([b"", b" ", b"\t\n"]) + b"  ".join(rng.choice(sorted(made), size).tolist()) + end
        for size, end in zip(rng.integers(0, 9, 400), [b"", b" \r\v\f"] * 200, strict=True)
    ]
    words, learnt, before = Words.none(0), set[bytes](), []
    for some in np.array_split(np.array(sorted(made), object), 40):  # some parts fit in place
        before.append((words, set(learnt)))
        learnt |= set(some)
        words = with_pieces(words, some.tolist(), [pieces[word] for word in some])
    assert len(words) == len(made) > 2_000
    for snapshot, knew in [*before[::5], (words, made)]:  # older ones must not see later words
        expected = [
            [piece for word in title.split() for piece in pieces[word]]
            if knew.issuperset(title.split())
            else None
            for title in titles
        ]
        assert looked_up(snapshot, titles) == expected
    assert looked_up(words, titles).count(None) == 0


def test_lengths_are_filled_up() -> None:
    words = with_pieces(Words.none(0), [b"a", b"bc"], [[7], [8, 9]])
    titles = Ragged.from_bytes([b"bc a", b"", b" a"])
    found, lengths = words.look_up(titles)
    assert lengths.tolist() == [3, 0, 1]
    filled = words.pieces_of(titles, found, np.array([3, 2, 4]), PAD)
    assert [row.tolist() for row in filled] == [[8, 9, 7], [0, 0], [7, 0, 0, 0]]


def test_records_beyond_an_index_are_refused() -> None:
    with pytest.raises(InputError, match=r"^titles: the words of one batch take more than 8 GiB; "):
        Words.none(0, 1, 2**31)


def test_every_table_hashes_in_its_own_way() -> None:
    words = [bytes([97 + i // 26, 97 + i % 26]) for i in range(600)]
    tables = [with_pieces(Words.none(0), words, [[i] for i in range(600)]) for _ in range(2)]
    assert (tables[0].slots != tables[1].slots).any()
    assert looked_up(tables[0], words) == looked_up(tables[1], words) == [[i] for i in range(600)]


def test_vectors_of_titles_are_scaled_sums() -> None:
    rng = np.random.default_rng(0)
    keys = [b"a", b"bc", b"d", b"nothing"]
    vectors = rng.integers(-9_000, 9_000, (4, 20)).astype(np.int16)
    vectors[3] = 0
    words = Words.none(20)
    for some in (slice(0, 1), slice(1, 4)):  # the rows of later words follow those of earlier ones
        pieces = Ragged.from_lists([[1]] * len(keys[some]))
        words = words.with_words(Ragged.from_bytes(keys[some]), pieces, vectors[some])

    titles = Ragged.from_bytes([b"bc a bc", b"", b" d", b"nothing"])
    found, _ = words.look_up(titles)
    out = np.full((4, 25), 7, np.float32)
    words.add_vectors_into(titles, found, 0.5, out)
    sums = np.array([2.0 * vectors[1] + vectors[0], vectors[2]])
    expected = np.zeros((4, 20))
    expected[[0, 2]] = 0.5 * sums / np.linalg.norm(sums, axis=1, keepdims=True)
    np.testing.assert_allclose(out[:, 5:], expected, rtol=1e-5)
    assert (out[:, :5] == 7).all()


def test_room_for_vectors_is_limited() -> None:
    words = Words.none(1 << 17)
    room = len(words.vectors)
    assert room * (1 << 17) * 2 <= 128 << 20
    assert words.has_room(room, 9)
    assert not words.has_room(room + 1, 9)
    assert len(Words.none(1 << 17, room + 1).vectors) == room + 1
