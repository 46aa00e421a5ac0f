"""Titles -> SentencePiece pieces, each distinct word once (paper A.1)."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
import sentencepiece

from vitrina.errors import InputError
from vitrina.ragged import Ragged, offsets_of
from vitrina.text.normalize import Normalizer, as_utf8
from vitrina.text.words import Words

PAD = 0
UNKNOWN = 1
MIN_PIECES = 5  # the widest convolution: a shorter title is extended with PAD up to it

_WORDS_KEPT = 1_000_000
_TITLES = 16_384  # at a time
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
        self._lock = threading.Lock()  # of who learns; readers need none
        self._words = Words.none()

    @classmethod
    def train(
        cls,
        titles: Iterable[str | None],
        normalizer: Normalizer,
        vocab_size: int = 30_000,
    ) -> TitleTokenizer:
        """Train a unigram model on the titles, as often as they occur (paper A.1: 30,000).

        The same titles in the same order give the same model, on any machine. A corpus that
        can't fill `vocab_size` gets as many as it supports: compare `len(tokenizer)`.

        Raises
        ------
        InputError
            if no title has a word, or `vocab_size` is fewer than their characters
        """
        model = io.BytesIO()
        sentences = filter(None, _normalised(titles, normalizer))
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=sentences,
                model_writer=model,
                model_type="unigram",
                vocab_size=vocab_size,
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
                    f"vocab_size: {vocab_size} is fewer than the titles have characters; raise it"
                ) from None
            raise InputError(f"titles: the tokenizer can't be trained on them ({error})") from None
        return cls(model.getvalue(), normalizer)

    def __len__(self) -> int:
        """Number of pieces, PAD and UNKNOWN included."""
        return int(self._processor.get_piece_size())

    def __call__(self, titles: Any) -> Ragged:
        """Pieces of n titles: Ragged of n rows, int32, each at least MIN_PIECES long."""
        text = as_utf8(titles)
        starts = range(0, max(1, len(text)), _TITLES)
        return Ragged.concatenated(
            [self.pieces_of(text.part(start, start + _TITLES)) for start in starts]
        )

    def pieces_of(self, titles: Ragged) -> Ragged:
        """Pieces of n titles given as UTF-8 bytes (see `as_utf8`): as `__call__` gives them.

        The words of one call are kept at once: give a bounded number of titles.
        """
        words = self._words
        found, lengths = words.look_up(titles)
        if (lengths < 0).any():
            words = self._learn(titles)
            found, lengths = words.look_up(titles)
        return words.pieces_of(titles, found, np.maximum(lengths, MIN_PIECES), PAD)

    def pieces(self, title: str) -> list[str]:
        """The pieces of one title as text, without padding, for people to read."""
        ids = [i for i in self([title])[0].tolist() if i != PAD]
        return [self._processor.id_to_piece(i) for i in ids]

    def _learn(self, titles: Ragged) -> Words:
        """Words that know all of these titles."""
        with self._lock:
            known = self._words if len(self._words) <= _WORDS_KEPT else Words.none()
            _, lengths = known.look_up(titles)  # others may have learnt or forgotten meanwhile
            new_to = np.flatnonzero(lengths < 0).tolist()
            raw = list({word for row in new_to for word in titles[row].tobytes().split()})
            _, lengths = known.look_up(Ragged.from_bytes(raw))
            raw = [word for word, length in zip(raw, lengths.tolist(), strict=True) if length < 0]
            self._words = known.with_words(Ragged.from_bytes(raw), self._encoded(raw))
            return self._words

    def _encoded(self, raw_words: list[bytes]) -> Ragged:
        """Pieces of words as they stand in titles: normalised, each distinct form encoded once."""
        forms = [
            " ".join(map(self.normalizer.word, raw.decode().split())).split() for raw in raw_words
        ]
        number = {form: i for i, form in enumerate(dict.fromkeys(chain.from_iterable(forms)))}
        encoded = Ragged.from_lists(self._processor.encode(list(number)))
        numbers = np.array([number[form] for parts in forms for form in parts], np.int64)
        pieces = encoded.take(numbers)
        ends = offsets_of(np.array([len(parts) for parts in forms], np.int64))
        return Ragged(pieces.values, pieces.offsets[ends])


def _normalised(titles: Iterable[str | None], normalizer: Normalizer) -> Iterable[str]:
    """Normal forms in a stream: the corpus need not fit in memory."""
    batch: list[str | None] = []
    for title in titles:
        batch.append(title)
        if len(batch) == 10_000:
            yield from normalizer(batch)
            batch.clear()
    yield from normalizer(batch)
