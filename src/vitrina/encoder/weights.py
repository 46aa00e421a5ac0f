"""A frozen encoder's parameters, tokenizer and training record, and the folder that stores them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from vitrina._version import __version__
from vitrina.compiled import default_threads, fork_safe_lock
from vitrina.encoder.golden import GOLDEN, golden_vectors
from vitrina.encoder.kernels import AS_IT_IS, BLOCKS, WIDTHS, Table
from vitrina.encoder.model_card import front_matter, training_section
from vitrina.encoder.sentence_files import (
    SENTENCE_FILES,
    check_sentence_files,
    sentence_files,
)
from vitrina.encoder.stored_parts import (
    LEXICAL_WEIGHT,
    MAX_EMBEDDING_DIM,
    MAX_FILTERS,
    is_object,
    stored_lexical,
    stored_normalizer,
    stored_sizes,
    stored_table,
    stored_tokenizer,
)
from vitrina.errors import InputError
from vitrina.files import atomic_path, refuse_existing
from vitrina.sealed import MIB, FolderKind, SealedFolder, require, seal
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer
from vitrina.untrusted import ArraySpec, parse_json

ENCODER = FolderKind(
    name="vitrina encoder",
    format_version=2,
    files={
        "config.json": 16 * MIB,
        # earlier versions saved encoders without the files for sentence-transformers
        **dict.fromkeys(SENTENCE_FILES, 1 * MIB),
        "golden.json": 1 * MIB,  # earlier versions saved encoders without it
        "lexical.safetensors": 512 * MIB,  # only if the vectors have a lexical part
        "model.safetensors": 1024 * MIB,
        "table.safetensors": 512 * MIB,  # the first encoders were saved without it
        "tokenizer.model": 16 * MIB,
        "training.jsonl": 64 * MIB,
    },
    required=frozenset(("config.json", "model.safetensors", "tokenizer.model")),
)
"""The folder of an encoder. The default sizes need a tenth of these limits, or less."""

KIND = ENCODER.name
FORMAT_VERSION = ENCODER.format_version

_VECTORS_VERSION = b"vitrina vectors 1"
"""Part of the digest: another number if the same files come to give other vectors."""

_BLOCK_ROWS = 1024
"""Rows of the table that are computed in one matrix product."""

Float32 = npt.NDArray[np.float32]


class EncoderWeights:
    """Parameters and tokenizer of a frozen title encoder.

    They never change, so copies of an encoder share one object.

    A vector has two parts. The contextual part is the Text CNN's representation y (paper §3.2.1).
    The lexical part is the sum of the vectors of the title's words, see
    `vitrina.text.word_vectors`. Each part is scaled to a fixed length, so that a vector has length
    1. Without word vectors, a vector is y itself, as in the paper.

    Parameters
    ----------
    embeddings : ndarray of shape (pieces, dim), float32
        One row per piece of the tokenizer.
    filters : ndarray of shape (dim, 14 · filters), float32
        Weights of the convolutions, in the block order of `vitrina.encoder.kernels`.
    bias : ndarray of shape (4 · filters,), float32
    tokenizer : TitleTokenizer
        With word vectors if the vectors have a lexical part.
    training : mapping, optional
        Record of the training run: settings, versions, digest of the data and metrics. It is
        stored unchanged in config.json.
    lexical_weight : float, optional
        Length of the lexical part, relative to that of the contextual part.

    Raises
    ------
    InputError
        If the shapes of the arrays and the size of the vocabulary don't fit together, or if they
        are too large to be saved.
    """

    def __init__(
        self,
        embeddings: Float32,
        filters: Float32,
        bias: Float32,
        tokenizer: TitleTokenizer,
        training: Mapping[str, Any] | None = None,
        lexical_weight: float = LEXICAL_WEIGHT,
    ) -> None:
        pieces, dim = embeddings.shape
        width = filters.shape[1]
        _check_sizes(pieces, dim, width // BLOCKS)
        representation = width // BLOCKS * len(WIDTHS)
        # The compiled kernels read the arrays without checking bounds.
        fits = (
            pieces == len(tokenizer)
            and filters.shape == (dim, width)
            and bias.shape == (representation,)
        )
        if not fits:
            raise InputError(
                f"encoder: embeddings {embeddings.shape}, filters {filters.shape}, bias "
                f"{bias.shape} and a tokenizer of {len(tokenizer)} pieces don't fit together; "
                "save the encoder again"
            )
        self.embeddings = embeddings
        self.filters = filters
        self.bias = bias
        self.tokenizer = tokenizer
        self.lexical_weight = lexical_weight
        self.training: dict[str, Any] = dict(training or {})
        self._lock = fork_safe_lock()
        self._tables: dict[str, Table] = {}

    def __repr__(self) -> str:
        pieces, dim = self.embeddings.shape
        return f"<{pieces} pieces × {dim} → {self.width}>"

    @property
    def contextual_dim(self) -> int:
        """Dimensions of the contextual part of a vector, which comes first."""
        return len(self.bias)

    @property
    def lexical_dim(self) -> int:
        """Dimensions of the lexical part of a vector; 0 if there is none."""
        return self.tokenizer.lexical_dim

    @property
    def width(self) -> int:
        """Dimensions of a vector."""
        return self.contextual_dim + self.lexical_dim

    @property
    def lexical_length(self) -> float:
        """Length (Euclidean norm) of the lexical part of a vector."""
        return self.lexical_weight / math.hypot(1, self.lexical_weight)

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of everything that the vectors depend on.

        Two encoders with the same digest give the same vectors. The int8 table is part of it,
        because machines may differ in the last bit of the products that it is made of.
        """
        digest = hashlib.sha256(_VECTORS_VERSION)
        digest.update(self.tokenizer.model)
        settings = {
            "normalization": self.tokenizer.normalizer.settings(),
            "lexical_weight": self.lexical_weight if self.lexical_dim else None,
        }
        digest.update(json.dumps(settings, sort_keys=True).encode())
        table = self.table("int8")
        table_arrays = {"table.values": table.values, "table.scale": table.scale}
        for name, array in sorted((self._arrays() | table_arrays).items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays but the table, by the names that they have in the folder."""
        return self._model_arrays() | self._lexical_arrays()

    def _model_arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"embeddings": self.embeddings, "filters": self.filters, "bias": self.bias}

    def _lexical_arrays(self) -> dict[str, npt.NDArray[Any]]:
        words = self.tokenizer.word_vectors
        if words is None:
            return {}
        return {"hashes": words.hashes, "rows": words.rows, "scale": words.scale}

    def __deepcopy__(self, memo: dict[int, Any]) -> EncoderWeights:
        # The arrays never change: scikit-learn's clone shares them instead of copying hundreds of
        # megabytes.
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the table: the process that unpickles computes it again."""
        tokenizer = self.tokenizer
        return {
            "arrays": (self.embeddings, self.filters, self.bias),
            "tokenizer": tokenizer.model,
            "normalization": tokenizer.normalizer.settings(),
            "word_vectors": tokenizer.word_vectors,
            "training": self.training,
            "lexical_weight": self.lexical_weight,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        tokenizer = TitleTokenizer(
            state["tokenizer"], Normalizer(**state["normalization"]), state["word_vectors"]
        )
        self.__init__(  # type: ignore[misc]
            *state["arrays"],
            tokenizer,
            state["training"],
            state["lexical_weight"],
        )

    def table(self, dtype: str) -> Table:
        """Return the table that `vitrina.encoder.kernels` reads, computing it at the first call.

        Parameters
        ----------
        dtype : {"float32", "int8"}

        Returns
        -------
        Table
            What each piece contributes at each position of each filter.

        Raises
        ------
        InputError
            If `dtype` has another value.
        """
        if dtype not in ("float32", "int8"):
            raise InputError(f"`table` is '{dtype}'; it must be float32 or int8")
        with self._lock:
            if "float32" not in self._tables and dtype not in self._tables:
                self._tables["float32"] = self._project()
            if dtype not in self._tables:
                self._tables["int8"] = self._tables["float32"].quantized()
            return self._tables[dtype]

    def _project(self) -> Table:
        """Multiply the embeddings by the filters."""
        from threadpoolctl import threadpool_limits

        # Each block has a fixed size and runs on one BLAS thread, so that the sums, and with them
        # every vector to the last bit, don't depend on the number of threads.
        out = np.empty((len(self.embeddings), self.filters.shape[1]), np.float32)

        def project(start: int) -> None:
            rows = slice(start, start + _BLOCK_ROWS)
            np.matmul(self.embeddings[rows], self.filters, out=out[rows])

        with threadpool_limits(1, "blas"), ThreadPoolExecutor(default_threads()) as pool:
            list(pool.map(project, range(0, len(out), _BLOCK_ROWS)))
        return Table(out, np.ones(len(self.bias), np.float32), self.bias, self._length())

    def _length(self) -> np.float32:
        """Length of the contextual part."""
        if not self.lexical_dim:
            return AS_IT_IS
        return np.float32(1 / math.hypot(1, self.lexical_weight))

    def save(self, path: str | Path, *, force: bool = False, findings: str = "") -> None:
        """Write the encoder to a folder, atomically.

        Parameters
        ----------
        path : str or Path
        force : bool, optional
            Replace an encoder that exists at `path`.
        findings : str, optional
            Evaluation results in Markdown, appended to the model card.

        Raises
        ------
        InputError
            If `path` exists (unless `force`) or can't be written.
        """
        path = Path(path)
        refuse_existing(path, force, KIND)
        with atomic_path(path, force=force, kind=KIND) as folder:
            folder.mkdir()
            self.write_into(folder, findings)

    def write_into(self, folder: Path, findings: str = "") -> None:
        """Write the encoder's files into an existing, empty folder; `findings` as in `save`."""
        # `safetensors.numpy.save_file` would create files that only their owner can read.
        model = safetensors.numpy.save(self._model_arrays())
        (folder / "model.safetensors").write_bytes(model)
        # The table is stored too: computing it takes longer than loading the whole encoder.
        table = self.table("int8")
        table_arrays = {"values": table.values, "scale": table.scale}
        (folder / "table.safetensors").write_bytes(safetensors.numpy.save(table_arrays))
        (folder / "tokenizer.model").write_bytes(self.tokenizer.model)
        lexical_arrays = self._lexical_arrays()
        if lexical_arrays:
            lexical = safetensors.numpy.save(lexical_arrays)
            (folder / "lexical.safetensors").write_bytes(lexical)

        config = {
            "vitrina": __version__,
            "digest": self.digest,
            "model": self._sizes(),
            "normalization": self.tokenizer.normalizer.settings(),
            "training": self.training,
        }
        # Half a surrogate pair, as in the name of a file that isn't UTF-8, becomes a JSON escape.
        text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
        data = text.encode("utf-8", "backslashreplace")
        # what can't be loaded is not saved
        stored_normalizer(parse_json(data, Path("config.json")), Path("config.json"))
        (folder / "config.json").write_bytes(data)

        (folder / GOLDEN).write_bytes(golden_vectors(self))
        for name, content in sentence_files().items():
            (folder / name).write_bytes(content)

        card = front_matter(self.tokenizer.normalizer.language) + self.model_card()
        if findings:
            card += f"\n{findings}"
        (folder / "README.md").write_text(card, "utf-8")
        seal(folder, ENCODER)

    def _sizes(self) -> dict[str, Any]:
        """The sizes of the arrays, for config.json."""
        pieces, dim = self.embeddings.shape
        filters = len(self.bias) // len(WIDTHS)
        sizes: dict[str, Any] = {
            "pieces": pieces,
            "dim": dim,
            "widths": list(WIDTHS),
            "filters": filters,
        }
        words = self.tokenizer.word_vectors
        if words is not None:
            sizes["lexical"] = {
                "features": len(words.hashes),
                "dim": words.dim,
                "weight": self.lexical_weight,
            }
        return sizes

    def model_card(self) -> str:
        """Return the model card in Markdown: how to use the encoder, its sizes and its training."""
        pieces, dim = self.embeddings.shape
        normalizer = self.tokenizer.normalizer
        widths = ", ".join(str(width) for width in WIDTHS)
        lines = [
            "# A title encoder made by vitrina",
            "",
            "```python",
            "from vitrina import TitleEncoder",
            "",
            "encoder = TitleEncoder.load('path/to/this/folder')",
            f"vectors = encoder.transform(['a title'])  # (1, {self.width}) float32",
            "```",
            "",
            f"The encoder is a Text CNN over a vocabulary of {pieces:,} SentencePiece pieces with "
            f"{dim}-dimensional embeddings. Its convolutions have the widths {widths}, with "
            f"{len(self.bias) // len(WIDTHS)} filters each. "
            f"Normalisation of titles: {normalizer.style}; "
            f"language: {normalizer.language or 'none'}.",
            "",
        ]
        if self.lexical_dim:
            lines += [
                f"A vector has length 1. Its first {len(self.bias)} dimensions are the scaled "
                f"output of the Text CNN. The other {self.lexical_dim} are the lexical part, a sum "
                "over the words of the title.",
                "",
            ]
        lines += training_section(self.training)
        return "\n".join([*lines, ""])

    @classmethod
    def load(cls, path: str | Path) -> EncoderWeights:
        """Load the encoder that was saved in a folder.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        EncoderWeights

        Raises
        ------
        InputError
            If the folder is missing, incomplete, damaged or of a newer format.
        """
        folder = SealedFolder(Path(path), ENCODER)
        check_sentence_files(folder)
        config = folder.json("config.json")
        where = folder.folder / "config.json"
        normalizer = stored_normalizer(config, where)
        training = require(config, "training", is_object, "an object", where)
        dim, filters = stored_sizes(config, where)
        lexical = stored_lexical(folder, config, where)
        tokenizer = stored_tokenizer(folder, normalizer, lexical.words)
        arrays = folder.arrays(
            "model.safetensors",
            {
                "embeddings": ArraySpec(np.float32, (len(tokenizer), dim)),
                "filters": ArraySpec(np.float32, (dim, BLOCKS * filters)),
                "bias": ArraySpec(np.float32, (len(WIDTHS) * filters,)),
            },
        )
        weights = cls(
            arrays["embeddings"],
            arrays["filters"],
            arrays["bias"],
            tokenizer,
            training,
            lexical.weight,
        )
        table = stored_table(folder, len(tokenizer), filters)
        if table is not None:
            weights._tables["int8"] = Table(*table, weights.bias, weights._length())
        return weights


def _check_sizes(pieces: int, dim: int, filters: int) -> None:
    """Raise an error for an encoder that would be too large to be loaded again."""
    numbers = pieces * dim + (dim * BLOCKS + len(WIDTHS)) * filters
    limits = ENCODER.files
    fits = (
        dim <= MAX_EMBEDDING_DIM
        and filters <= MAX_FILTERS
        and 4 * numbers + MIB <= limits["model.safetensors"]
        and pieces * BLOCKS * filters + MIB <= limits["table.safetensors"]
    )
    if not fits:
        raise InputError(
            f"encoder: {pieces:,} pieces of {dim:,} dimensions with {filters:,} filters of each "
            f"width are too large (at most {MAX_EMBEDDING_DIM:,} dimensions, {MAX_FILTERS:,} "
            f"filters, {limits['model.safetensors'] // MIB:,} MiB of weights and "
            f"{limits['table.safetensors'] // MIB:,} MiB of table); set a smaller `vocab_size`, "
            "`dim` or `filters`"
        )


def initial_weights(
    tokenizer: TitleTokenizer,
    *,
    dim: int = 512,
    filters: int = 128,
    embedding_std: float = 0.05,
    seed: int = 0,
) -> EncoderWeights:
    """Draw random weights: the start of training, and the random encoder of figure 2.

    The embeddings are N(0, embedding_std²). The weights and biases of each convolution are uniform
    in ±1/√(dim · width), which is how torch's Conv1d is initialised.

    Parameters
    ----------
    tokenizer : TitleTokenizer
    dim : int, optional
        Dimensions of the embeddings.
    filters : int, optional
        Filters of each of the 4 widths; a vector has 4 · filters dimensions.
    embedding_std : float, optional
    seed : int, optional

    Returns
    -------
    EncoderWeights

    Raises
    ------
    InputError
        If the encoder would be too large to be saved.
    """
    _check_sizes(len(tokenizer), dim, filters)
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((len(tokenizer), dim), np.float32) * np.float32(embedding_std)
    blocks = []
    biases = []
    for width in WIDTHS:
        bound = 1 / np.sqrt(dim * width)
        blocks.append(rng.uniform(-bound, bound, (dim, width * filters)))
        biases.append(rng.uniform(-bound, bound, filters))
    weights = np.concatenate(blocks, axis=1).astype(np.float32)
    bias = np.concatenate(biases).astype(np.float32)
    return EncoderWeights(embeddings, weights, bias, tokenizer)
