"""Splitting titles into SentencePiece pieces, each distinct word only once (paper A.1)."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import sentencepiece

from vitrina.compiled import fork_safe_lock
from vitrina.errors import InputError
from vitrina.ragged import Ragged, offsets_of
from vitrina.text.normalize import Normalizer, as_utf8
from vitrina.text.word_vectors import WordVectors
from vitrina.text.words import Found, Words, size_of_records

PAD = 0
"""Id of the piece that fills up short titles."""
UNKNOWN = 1
"""Id of the piece for characters that the model does not know."""
MIN_PIECES = 5
"""Width of the widest convolution; shorter titles are filled up to it with `PAD`."""

_BATCH_TITLES = 16_384
_LONGEST_PIECE = 16


class TitleTokenizer:
    """Normalises titles and splits them into SentencePiece unigram pieces.

    Pieces never cross a space, so the pieces of a title are those of its words, one word after the
    other. Words follow Zipf's law: most words of a batch have been seen before. Each distinct word
    is normalised and encoded once, and its pieces and its vector are stored. The store holds up to
    half a million words in at most 40 MiB, and their vectors in at most 128 MiB. When it is full,
    the tokenizer forgets all words and starts anew.

    Several threads may share a tokenizer. It stays usable in a forked process, and after an
    exception that a signal raised anywhere in a call.

    Parameters
    ----------
    model : bytes
        A serialised SentencePiece model, made by `train`.
    normalizer : Normalizer
    word_vectors : WordVectors, optional
        Vectors of words and n-grams, for `pieces_and_vectors`.

    Raises
    ------
    InputError
        If `model` is not a SentencePiece model.
    """

    def __init__(
        self, model: bytes, normalizer: Normalizer, word_vectors: WordVectors | None = None
    ) -> None:
        self.model = model
        self.normalizer = normalizer
        self.word_vectors = word_vectors
        if not model:  # SentencePiece would accept this, and wait for a model to be loaded
            raise InputError("tokenizer: not a SentencePiece model (0 bytes)")
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise InputError(f"tokenizer: not a SentencePiece model ({error})") from None
        # guards writers; reads are lock-free
        self._lock = fork_safe_lock()
        self._words = Words.none(self.lexical_dim)
        # False while the words grow. If a signal or a fork interrupts that, it stays False: the
        # words can still be read, but the next ones are stored in a new table.
        self._can_grow = True

    @classmethod
    def train(
        cls,
        titles: Iterable[str | None],
        normalizer: Normalizer,
        vocab_size: int = 30_000,
    ) -> TitleTokenizer:
        """Train a unigram model on titles (paper A.1: 30,000 pieces).

        A title counts as often as it occurs. The same titles in the same order give the same model
        on any machine.

        Parameters
        ----------
        titles : iterable of str or None
        normalizer : Normalizer
        vocab_size : int, default 30,000
            Number of pieces. The model has fewer if the titles don't support so many: see
            ``len(tokenizer)``.

        Returns
        -------
        TitleTokenizer

        Raises
        ------
        InputError
            If no title has a word, or `vocab_size` is smaller than the number of different
            characters.
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
                normalization_rule_name="identity",  # the titles are normalised already
                pad_id=PAD,
                unk_id=UNKNOWN,
                bos_id=-1,
                eos_id=-1,
                num_threads=2,  # fixed, because the model depends on the number of threads
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            raise InputError(_training_message(error, vocab_size)) from None
        return cls(model.getvalue(), normalizer)

    def with_word_vectors(
        self, titles: Iterable[str | None], dim: int, seed: int = 0
    ) -> TitleTokenizer:
        """Return a tokenizer of the same pieces, with word vectors fitted to titles.

        Parameters
        ----------
        titles : iterable of str or None
            Each distinct normal form counts once.
        dim : int
            Dimensions of the word vectors.
        seed : int, optional

        Returns
        -------
        TitleTokenizer
        """
        forms = dict.fromkeys(_normalised(titles, self.normalizer))
        forms.pop("", None)
        word_vectors = WordVectors.fit(list(forms), dim, seed)
        return TitleTokenizer(self.model, self.normalizer, word_vectors)

    def __len__(self) -> int:
        """Number of pieces, including `PAD` and `UNKNOWN`."""
        return int(self._processor.get_piece_size())

    @property
    def lexical_dim(self) -> int:
        """Dimensions of the word vectors; 0 if there are none."""
        return 0 if self.word_vectors is None else self.word_vectors.dim

    def __call__(self, titles: Any) -> Ragged:
        """Split titles into pieces.

        Parameters
        ----------
        titles : sequence or table of n titles
            See `as_titles`.

        Returns
        -------
        Ragged of n rows, int32
            Ids of the pieces, at least `MIN_PIECES` in each row.

        Raises
        ------
        InputError
            If an entry is not text.
        """
        text = as_utf8(titles)
        starts = range(0, max(1, len(text)), _BATCH_TITLES)
        batches = (text.part(start, start + _BATCH_TITLES) for start in starts)
        return Ragged.concatenated([self.pieces_of(batch) for batch in batches])

    def pieces_of(self, titles: Ragged) -> Ragged:
        """Split titles given as UTF-8 into pieces.

        The memory that a call needs is proportional to its bytes, so callers must limit the number
        of titles.

        Parameters
        ----------
        titles : Ragged of n rows, uint8
            See `as_utf8`.

        Returns
        -------
        Ragged of n rows, int32
            As from ``tokenizer(titles)``.
        """
        words, found, lengths = self._look_up(titles)
        return words.pieces_of(titles, found, np.maximum(lengths, MIN_PIECES), PAD)

    def pieces_and_vectors(
        self, titles: Ragged, length: float, out: npt.NDArray[np.float32]
    ) -> Ragged:
        """Split titles given as UTF-8 into pieces, and add the vectors of their words.

        Parameters
        ----------
        titles : Ragged of n rows, uint8
            See `as_utf8`.
        length : float
            Length (Euclidean norm) of the sums.
        out : ndarray of shape (n, width), float32
            The last `dim` columns are filled with the sum of the word vectors of each title, scaled
            to `length`. A title whose words and n-grams are all unknown gets zeros.

        Returns
        -------
        Ragged of n rows, int32
            As from `pieces_of`.
        """
        words, found, lengths = self._look_up(titles)
        words.add_vectors_into(titles, found, length, out)
        return words.pieces_of(titles, found, np.maximum(lengths, MIN_PIECES), PAD)

    def _look_up(self, titles: Ragged) -> tuple[Words, Found, npt.NDArray[np.int64]]:
        """Return a table that knows all words of these titles, and what it finds for them."""
        words = self._words
        found, lengths = words.look_up(titles)
        if (lengths < 0).any():
            words = self._learn(titles)
            found, lengths = words.look_up(titles)
        return words, found, lengths

    def pieces(self, title: str) -> list[str]:
        """Return the pieces of one title as text, without padding."""
        ids = self([title])[0].tolist()
        return [self._processor.id_to_piece(id_) for id_ in ids if id_ != PAD]

    def _learn(self, titles: Ragged) -> Words:
        """Store the unknown words of these titles, and return a table that knows all of them."""
        with self._lock:
            known = self._words if self._can_grow else Words.none(self.lexical_dim)
            new = self._unknown_words(known, titles)
            if not known.has_room(len(new.keys), new.size):
                # starting anew takes less time than moving the words to a larger table
                known = Words.none(self.lexical_dim)
                new = self._unknown_words(known, titles)
            if not known.has_room(len(new.keys), new.size):
                # a table for this call alone keeps the memory bounded
                known = Words.none(self.lexical_dim, len(new.keys), new.size)
                return known.with_words(new.keys, new.pieces, new.vectors)
            self._can_grow = False
            self._words = known.with_words(new.keys, new.pieces, new.vectors)
            self._can_grow = True
            return self._words

    def _unknown_words(self, known: Words, titles: Ragged) -> _NewWords:
        """The words of titles that a table doesn't have."""
        _, lengths = known.look_up(titles)
        candidates: set[bytes] = set()
        for row in np.flatnonzero(lengths < 0).tolist():
            candidates.update(titles[row].tobytes().split())
        words = list(candidates)
        _, lengths = known.look_up(Ragged.from_bytes(words))
        new = [words[row] for row in np.flatnonzero(lengths < 0).tolist()]

        # a raw word may have several normal forms (USB-C: usb and c), or none
        forms = []
        for raw in new:
            parts = map(self.normalizer.word, raw.decode().split())
            forms.append(" ".join(parts))
        vectors = np.empty((len(new), 0), np.int16)
        if self.word_vectors is not None:
            texts = Ragged.from_bytes([form.encode() for form in forms])
            vectors = self.word_vectors.of_texts(texts)
        return _NewWords(
            Ragged.from_bytes(new), self._encoded([form.split() for form in forms]), vectors
        )

    def _encoded(self, forms: list[list[str]]) -> Ragged:
        """Pieces of raw words, given by their normal forms; each distinct form is encoded once."""
        all_forms = list(chain.from_iterable(forms))
        distinct = list(dict.fromkeys(all_forms))
        encoded = Ragged.from_lists(self._processor.encode(distinct))

        # from the pieces of distinct forms to those of all forms, and of raw words
        row_of = {form: row for row, form in enumerate(distinct)}
        rows = np.array([row_of[form] for form in all_forms], np.int64)
        pieces = encoded.take(rows)
        forms_per_word = np.array([len(parts) for parts in forms], np.int64)
        return Ragged(pieces.values, pieces.offsets[offsets_of(forms_per_word)])


class _NewWords(NamedTuple):
    """Words to store: their UTF-8, their pieces and their vectors, row by row."""

    keys: Ragged
    pieces: Ragged
    vectors: npt.NDArray[np.int16]

    @property
    def size(self) -> int:
        """Size of their records."""
        return size_of_records(self.keys, self.pieces)


def _training_message(error: Exception, vocab_size: int) -> str:
    """The message for an error of SentencePiece's trainer."""
    text = str(error)
    if "sentences" in text or "empty" in text.lower():
        return "titles: no title has a word after normalisation; check the title column"
    if "vocab" in text.lower():
        return (
            f"`vocab_size` is {vocab_size}, smaller than the number of different characters in the "
            "titles; raise it"
        )
    return f"titles: the tokenizer can't be trained on them ({error})"


def _normalised(titles: Iterable[str | None], normalizer: Normalizer) -> Iterable[str]:
    """Normal forms as a stream, because the titles may not fit in memory."""
    batch: list[str | None] = []
    for title in titles:
        batch.append(title)
        if len(batch) == 10_000:
            yield from normalizer(batch)
            batch.clear()
    yield from normalizer(batch)
