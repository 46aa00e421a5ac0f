"""What a frozen encoder is: its numbers, its tokenizer, its record; and how it lies on disk."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from vitrina._version import __version__
from vitrina.compiled import default_threads
from vitrina.encoder.kernels import BLOCKS, WIDTHS, Table
from vitrina.errors import InputError
from vitrina.files import atomic_path, check_sealed, refuse_existing, seal, stored_arrays
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer

FORMAT_VERSION = 1
KIND = "vitrina encoder"

Float32 = npt.NDArray[np.float32]


class EncoderWeights:
    """The frozen parts of a title encoder, shared by all its copies (they are never changed).

    Parameters
    ----------
    embeddings : (pieces, dim) float32
        One row for each piece of the tokenizer.
    filters : (dim, 14 · filters) float32
        The convolutions' weights, in the block order of `vitrina.encoder.kernels`.
    bias : (4 · filters,) float32
    tokenizer : TitleTokenizer
    training : mapping
        How it was trained: settings, versions, data digest, figures. Kept as it is in
        config.json.
    """

    def __init__(
        self,
        embeddings: Float32,
        filters: Float32,
        bias: Float32,
        tokenizer: TitleTokenizer,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        pieces, dim = embeddings.shape
        if (pieces, filters.shape, bias.shape) != (
            len(tokenizer),
            (dim, filters.shape[1]),
            (filters.shape[1] // BLOCKS * len(WIDTHS),),
        ):  # the kernels trust it
            raise InputError(
                f"encoder: embeddings {embeddings.shape}, filters {filters.shape}, bias "
                f"{bias.shape} and {len(tokenizer)} pieces don't fit together; save it again"
            )
        self.embeddings, self.filters, self.bias = embeddings, filters, bias
        self.tokenizer = tokenizer
        self.training: dict[str, Any] = dict(training or {})
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        pieces, dim = self.embeddings.shape
        return f"<{pieces} pieces × {dim} → {len(self.bias)}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> EncoderWeights:
        return self  # frozen: scikit-learn's clone need not copy hundreds of megabytes

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs; the table is derived there again."""
        tokenizer = self.tokenizer
        return {
            "arrays": (self.embeddings, self.filters, self.bias),
            "tokenizer": tokenizer.model,
            "normalization": tokenizer.normalizer.settings(),
            "training": self.training,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        tokenizer = TitleTokenizer(state["tokenizer"], Normalizer(**state["normalization"]))
        self.__init__(*state["arrays"], tokenizer, state["training"])  # type: ignore[misc]

    def table(self, dtype: str) -> Table:
        """What each piece adds at each position of each filter, float32 or int8.

        Raises
        ------
        InputError
            for another dtype
        """
        if dtype not in ("float32", "int8"):
            raise InputError(f"table: '{dtype}' is not one of float32, int8")
        with self._lock:
            return self._float32 if dtype == "float32" else self._int8

    @cached_property
    def _int8(self) -> Table:
        return self._float32.quantized()

    @cached_property
    def _float32(self) -> Table:
        from threadpoolctl import threadpool_limits

        # Blocks of fixed size on one BLAS thread each: the sums, and so every vector to the last
        # bit, don't depend on the number of threads.
        out = np.empty((len(self.embeddings), self.filters.shape[1]), np.float32)

        def project(start: int) -> None:
            rows = slice(start, start + 1024)
            np.matmul(self.embeddings[rows], self.filters, out=out[rows])

        with threadpool_limits(1, "blas"), ThreadPoolExecutor(default_threads()) as pool:
            list(pool.map(project, range(0, len(out), 1024)))
        return Table(out, np.ones(len(self.bias), np.float32), self.bias)

    def save(self, path: str | Path, *, force: bool = False, findings: str = "") -> None:
        """Write the encoder's folder, atomically; refuse an existing path unless `force`.

        `findings`, in Markdown, end the model card: how the encoder does.
        """
        path = Path(path)
        refuse_existing(path, force, KIND)
        with atomic_path(path) as folder:
            folder.mkdir()
            self.write_into(folder, findings)

    def write_into(self, folder: Path, findings: str = "") -> None:
        """Write the encoder's files into an empty folder."""
        arrays = {"embeddings": self.embeddings, "filters": self.filters, "bias": self.bias}
        small = self.table("int8")  # kept, because deriving it takes longer than all of loading
        table = {"values": small.values, "scale": small.scale}
        # through bytes: save_file would hide the file from every other user
        (folder / "model.safetensors").write_bytes(safetensors.numpy.save(arrays))
        (folder / "table.safetensors").write_bytes(safetensors.numpy.save(table))
        (folder / "tokenizer.model").write_bytes(self.tokenizer.model)
        pieces, dim = self.embeddings.shape
        config = {
            "vitrina": __version__,
            "model": {
                "pieces": pieces,
                "dim": dim,
                "widths": list(WIDTHS),
                "filters": len(self.bias) // len(WIDTHS),
            },
            "normalization": self.tokenizer.normalizer.settings(),
            "training": self.training,
        }
        text = json.dumps(config, indent=1, ensure_ascii=False)
        (folder / "config.json").write_text(text + "\n", "utf-8")
        card = self.model_card() + (f"\n{findings}" if findings else "")
        (folder / "README.md").write_text(card, "utf-8")
        seal(folder, KIND, FORMAT_VERSION)

    def model_card(self) -> str:
        """How to use the encoder and how it was trained, in Markdown."""
        pieces, dim = self.embeddings.shape
        normalizer = self.tokenizer.normalizer
        lines = [
            "# A title encoder made by vitrina",
            "",
            "```python",
            "from vitrina import TitleEncoder",
            "",
            "encoder = TitleEncoder.load('the path of this folder')",
            f"vectors = encoder.transform(['a title'])  # (1, {len(self.bias)}) float32",
            "```",
            "",
            f"Text CNN over {pieces:,} SentencePiece pieces of {dim} numbers, widths "
            f"{', '.join(map(str, WIDTHS))}, {len(self.bias) // len(WIDTHS)} filters each. "
            f"Normalisation: {normalizer.style}, language {normalizer.language or 'none'}.",
            "",
        ]
        if not self.training:
            return "\n".join([*lines, "Never trained: its weights are random.", ""])
        lines += ["## How it was trained", "", "| what | value |", "|---|---|"]
        for name, value in self.training.items():
            shown = value
            if isinstance(value, dict):
                shown = ", ".join(f"{key.replace('_', ' ')} {part}" for key, part in value.items())
            lines.append(f"| {name.replace('_', ' ')} | {shown} |")
        return "\n".join([*lines, ""])

    @classmethod
    def load(cls, path: str | Path) -> EncoderWeights:
        """Read an encoder's folder; InputError if it is missing, incomplete, damaged or newer."""
        folder = Path(path)
        check_sealed(folder, KIND, FORMAT_VERSION)
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
            arrays = stored_arrays(folder / "model.safetensors", mapped=True)
            normalizer = Normalizer(**config["normalization"])
            tokenizer = TitleTokenizer((folder / "tokenizer.model").read_bytes(), normalizer)
            parts = arrays["embeddings"], arrays["filters"], arrays["bias"]
            weights = cls(*parts, tokenizer, config["training"])
            if (folder / "table.safetensors").exists():  # the first encoders had none
                table = stored_arrays(folder / "table.safetensors", mapped=False)
                weights._int8 = Table(table["values"], table["scale"], weights.bias)
            return weights
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise InputError(f"{folder}: is no readable encoder ({error}); save it again") from None


def initial_weights(
    tokenizer: TitleTokenizer,
    *,
    dim: int = 512,
    filters: int = 128,
    embedding_std: float = 0.05,
    seed: int = 0,
) -> EncoderWeights:
    """Weights before any training: where training starts, and the random encoder of figure 2.

    Embeddings are N(0, embedding_std²); each convolution is uniform in ±1/√(dim · width), bias
    included, as torch's Conv1d starts.
    """
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((len(tokenizer), dim), np.float32) * np.float32(embedding_std)
    blocks, biases = [], []
    for width in WIDTHS:
        bound = 1 / np.sqrt(dim * width)
        blocks.append(rng.uniform(-bound, bound, (dim, width * filters)))
        biases.append(rng.uniform(-bound, bound, filters))
    weights = np.concatenate(blocks, axis=1).astype(np.float32)
    assert weights.shape == (dim, BLOCKS * filters)
    return EncoderWeights(embeddings, weights, np.concatenate(biases).astype(np.float32), tokenizer)
