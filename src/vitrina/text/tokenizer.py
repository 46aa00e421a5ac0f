"""Titles -> SentencePiece pieces, each distinct word once (paper A.1)."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import sentencepiece

from vitrina.errors import InputError
from vitrina.ragged import Ragged, offsets_of
from vitrina.text.normalize import Normalizer, as_titles

PAD = 0
UNKNOWN = 1
MIN_PIECES = 5  # the widest convolution: a shorter title is extended with PAD up to it

_WORDS_KEPT = 1_000_000
_LONGEST_PIECE = 16


class TitleTokenizer:
    """Normalised titles as lists of SentencePiece unigram pieces.

    Pieces never cross a space, so a title's pieces are the concatenation of its words' pieces.
    Words follow Zipf's law: each distinct one is normalised and encoded once, then remembered.
    Safe to share between threads.

    Parameters
    ----------
    model : bytes
        A serialised SentencePiece model made by `train`.
    normalizer : Normalizer
    """

    def __init__(self, model: bytes, normalizer: Normalizer) -> None:
        self.model = model
        self.normalizer = normalizer
        if not model:  # SentencePiece takes it for a model to be loaded later
            raise InputError("tokenizer: not a SentencePiece model (0 bytes)")
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise InputError(f"tokenizer: not a SentencePiece model ({error})") from None
        self._lock = threading.Lock()
        self._forget()

    @classmethod
    def train(
        cls,
        titles: Iterable[str | None],
        normalizer: Normalizer,
        pieces: int = 30_000,
    ) -> TitleTokenizer:
        """Train a unigram model on the titles, as often as they occur (paper A.1: 30,000).

        The same titles in the same order give the same model, on any machine. A corpus that
        can't fill `pieces` gets as many as it supports: compare `len(tokenizer)`.

        Raises
        ------
        InputError
            if no title has a word, or `pieces` is fewer than their characters
        """
        model = io.BytesIO()
        sentences = filter(None, _normalised(titles, normalizer))
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=sentences,
                model_writer=model,
                model_type="unigram",
                vocab_size=pieces,
                hard_vocab_limit=False,
                max_sentencepiece_length=_LONGEST_PIECE,
                normalization_rule_name="identity",  # Normalizer's work is done
                pad_id=PAD,
                unk_id=UNKNOWN,
                bos_id=-1,
                eos_id=-1,
                num_threads=2,  # fixed: sums over threads depend on their number
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            if "sentences" in str(error) or "empty" in str(error).lower():
                raise InputError(
                    "titles: no title has a word after normalisation; check the title column"
                ) from None
            if "vocab" in str(error).lower():
                raise InputError(
                    f"pieces: {pieces} is fewer than the titles have characters; raise it"
                ) from None
            raise InputError(f"titles: the tokenizer can't be trained on them ({error})") from None
        return cls(model.getvalue(), normalizer)

    def __len__(self) -> int:
        """Number of pieces, PAD and UNKNOWN included."""
        return int(self._processor.get_piece_size())

    def __call__(self, titles: Any) -> Ragged:
        """Pieces of n titles: Ragged of n rows, int32, each at least MIN_PIECES long."""
        words = [title.split() if title else [] for title in as_titles(titles)]
        title_ends = offsets_of(np.fromiter(map(len, words), np.int64, len(words)))
        with self._lock:
            if len(self._rows) > _WORDS_KEPT:
                self._forget()
            self._learn(set(chain.from_iterable(words)).difference(self._rows))
            rows = np.fromiter(
                map(self._rows.__getitem__, chain.from_iterable(words)), np.int64, title_ends[-1]
            )
            known = Ragged(self._values, self._offsets)
        pieces = known.take(rows)
        return _extended(Ragged(pieces.values, pieces.offsets[title_ends]))

    def pieces(self, title: str) -> list[str]:
        """The pieces of one title as text, without padding, for people to read."""
        ids = [i for i in self([title])[0].tolist() if i != PAD]
        return [self._processor.id_to_piece(i) for i in ids]

    def _forget(self) -> None:
        self._rows: dict[str, int] = {}  # raw word -> its row in (_values, _offsets)
        self._values: npt.NDArray[np.int32] = np.empty(1 << 12, np.int32)
        self._offsets: npt.NDArray[np.int64] = np.zeros(1 << 10, np.int64)

    def _learn(self, raw_words: set[str]) -> None:
        """Append rows for new words. Callers hold the lock and take their own view of the arrays:
        a grown array is a new one, so a view taken earlier stays valid."""
        if not raw_words:
            return
        forms = {raw: self.normalizer.word(raw).split() for raw in sorted(raw_words)}
        distinct = list(dict.fromkeys(chain.from_iterable(forms.values())))
        encoded = dict(zip(distinct, self._processor.encode(distinct), strict=True))
        new = Ragged.from_lists(
            list(chain.from_iterable(encoded[form] for form in parts)) for parts in forms.values()
        )
        first, used = len(self._rows), int(self._offsets[len(self._rows)])
        self._values = _with_room(self._values, used + len(new.values))
        self._offsets = _with_room(self._offsets, first + len(new) + 1)
        self._values[used : used + len(new.values)] = new.values
        self._offsets[first : first + len(new) + 1] = new.offsets + used
        self._rows.update(zip(forms, range(first, first + len(new)), strict=True))


def _normalised(titles: Iterable[str | None], normalizer: Normalizer) -> Iterable[str]:
    """Normal forms in a stream: the corpus need not fit in memory."""
    batch: list[str | None] = []
    for title in titles:
        batch.append(title)
        if len(batch) == 10_000:
            yield from normalizer(batch)
            batch.clear()
    yield from normalizer(batch)


def _with_room(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """The array, or a copy of at least twice its length, so that appending stays linear."""
    if size <= len(array):
        return array
    grown = np.zeros(max(size, 2 * len(array)), array.dtype)
    grown[: len(array)] = array
    return grown


def _extended(pieces: Ragged) -> Ragged:
    """Rows shorter than MIN_PIECES, extended with PAD: the one definition of a short title."""
    short = np.maximum(MIN_PIECES - pieces.lengths, 0)
    if not short.any():
        return pieces
    lengths = pieces.lengths + short
    offsets = offsets_of(lengths)
    values = np.full(offsets[-1], PAD, np.int32)
    # a value moves right by all the padding of the rows before its own
    values[
        np.arange(len(pieces.values))
        + np.repeat(offsets[:-1] - pieces.offsets[:-1], pieces.lengths)
    ] = pieces.values
    return Ragged(values, offsets)
