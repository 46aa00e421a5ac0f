"""Frozen pre-trained language models: transformers (paper A.2: BETO) and static embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from vitrina.errors import InputError
from vitrina.evaluation.models.stored_vectors import Encode, StoredVectorsModel, Vectors
from vitrina.files import file_digest
from vitrina.pretraining.openmp import sleeping_openmp

BETO = "dccuchile/bert-base-spanish-wwm-uncased"
"""Name of the paper's Spanish BERT on the Hugging Face hub (paper A.2)."""
BATCH_SIZE = 64
"""Maximum number of titles in a transformer's batch; all of them have the same length."""
ATTENTION = "eager"
"""The implementation of attention: torch's fused one is ten times slower under `faster_torch`."""

_HUB_TIMEOUT = 10.0  # seconds
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True, kw_only=True)
class _Pretrained(StoredVectorsModel):
    """A published encoder.

    Attributes
    ----------
    source : str
        Its folder, or its name on the Hugging Face hub.
    """

    source: str

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "source": source_digest(self.source)}

    def check(self) -> None:
        super().check()
        require_model(self.source)


@dataclass(frozen=True, kw_only=True)
class Transformer(_Pretrained):
    """The vectors of a pre-trained transformer's last layer (paper A.2: BETO's [CLS] token).

    Titles of one length are encoded together, so that nothing is padded. Except for the rounding of
    sums, a title's vector doesn't depend on the titles that it is encoded with.

    Attributes
    ----------
    source : str, default BETO
        A folder in the layout of transformers or sentence-transformers, or a name on the hub.
    pooling : {"cls", "mean"}
        Use the first token's vector, or the mean of all tokens' vectors.
    prefix : str, default ""
        Text before each title, such as "query: " for E5.
    max_length : int, default 64
        Maximum number of tokens of a title; the rest is cut off.
    """

    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")

    source: str = BETO
    pooling: Literal["cls", "mean"] = "cls"
    prefix: str = ""
    max_length: int = 64

    def digest(self) -> str:
        """Return a hexadecimal key of the encoder, the same for both poolings.

        One pass gives the vectors of both poolings, and they are stored next to each other.
        """
        return StoredVectorsModel.digest(replace(self, pooling="cls"))

    def pooled(self, vectors: Vectors) -> Vectors:
        """Select the first half of the columns ([CLS]) or the second half (mean)."""
        width = vectors.shape[1] // 2
        return vectors[:, :width] if self.pooling == "cls" else vectors[:, width:]

    def open(self) -> tuple[Encode, int]:
        self.check()
        with sleeping_openmp():
            import torch
        from transformers import AutoModel, AutoTokenizer

        from vitrina.pretraining.torch_speed import faster_torch

        tokenizer = load(self.source, AutoTokenizer.from_pretrained)
        read = partial(
            AutoModel.from_pretrained,
            attn_implementation=ATTENTION,
            dtype=torch.float32,
            output_loading_info=True,
        )
        model, loading_info = load(self.source, read)
        # the pooler comes after the last layer, whose vectors are used here
        missing = [name for name in loading_info["missing_keys"] if "pooler" not in name]
        if missing:
            raise InputError(
                f"{self.source}: {len(missing)} of the model's weights are missing, such as "
                f"{min(missing)}; save the model again"
            )
        model.eval()

        def encode(titles: list[str]) -> Vectors:
            texts = [self.prefix + title for title in titles]
            tokens = tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"]
            lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
            vectors = np.empty((len(titles), 2 * model.config.hidden_size), np.float32)
            # titles of one length make batches without padding
            with torch.inference_mode(), faster_torch():
                for length in np.unique(lengths):
                    rows = np.flatnonzero(lengths == length)
                    for start in range(0, len(rows), BATCH_SIZE):
                        part = rows[start : start + BATCH_SIZE]
                        batch = torch.tensor([tokens[row] for row in part])
                        # the last layer's vectors, shape (titles, tokens, d)
                        last = model(batch, attention_mask=torch.ones_like(batch))[0]
                        vectors[part] = torch.cat([last[:, 0], last.mean(1)], 1).numpy()
            return vectors

        weights = [*model.parameters(), *model.buffers()]
        return encode, sum(weight.nbytes for weight in weights)


@dataclass(frozen=True, kw_only=True)
class StaticEmbedding(_Pretrained):
    """The mean of the token vectors from the table of a model2vec model."""

    packages: ClassVar[tuple[str, ...]] = ("model2vec",)

    def open(self) -> tuple[Encode, int]:
        self.check()
        from huggingface_hub import snapshot_download
        from model2vec import StaticModel

        # fetched here and not by model2vec, because `load` tries the cache before the hub
        folder = self.source
        if not Path(folder).is_dir():
            files = ["*.json", "*.safetensors"]
            folder = load(folder, partial(snapshot_download, allow_patterns=files))
        with one_line(self.source):
            model = StaticModel.from_pretrained(folder)

        def encode(titles: list[str]) -> Vectors:
            return np.asarray(model.encode(titles, use_multiprocessing=False), np.float32)

        return encode, model.embedding.nbytes


def model_label(source: str) -> str:
    """Return a readable name of a model: the last part of its folder or of its name on the hub.

    Some folders have names that say nothing, such as "model" or a commit. The name then comes from
    the model's configuration or from the hub's cache.

    Parameters
    ----------
    source : str
        Folder, or name on the hub.

    Returns
    -------
    str
    """
    folder = Path(source)
    if not folder.is_dir():
        return source.rstrip("/").rpartition("/")[2]
    folder = folder.resolve()
    # the hub's cache: models--dccuchile--bert-base/snapshots/4ed9a...
    if folder.parent.name == "snapshots":
        return folder.parent.parent.name.rpartition("--")[2]
    if folder.name in ("model", "0_Transformer"):
        file = folder / "config.json"
        config = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        return Path(config.get("_name_or_path") or folder.parent.name).name
    return folder.name


def source_digest(source: str) -> str:
    """Identify a model's weights: by a hash of the folder's files, or by the commit on the hub."""
    folder = Path(source)
    if not folder.is_dir():
        with one_line(source):
            return f"{source}@{_commit(source)}"
    # model cards (*.md) are left out: editing one doesn't change the model
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".md")
    stamped = []
    for path in files:
        stat = path.stat()
        stamped.append((path, (stat.st_size, stat.st_mtime_ns)))
    return _files_digest(folder, tuple(stamped))


def require_model(source: str) -> None:
    """Raise InputError if a folder holds no model, or a name can't be found on the hub."""
    folder = Path(source)
    if not folder.is_dir():
        source_digest(source)
        return
    # checked here, because transformers uses an empty tokenizer if it finds none
    required = {
        "configuration (config.json)": ("config.json",),
        "weights (*.safetensors)": _WEIGHT_FILES,
        "tokenizer (tokenizer.json)": _TOKENIZER_FILES,
    }
    for what, patterns in required.items():
        if not any(any(folder.glob(pattern)) for pattern in patterns):
            raise InputError(f"{folder}: has no {what}; give the folder of a saved model")


@contextmanager
def silent_transformers() -> Iterator[None]:
    """Suppress transformers' progress bars and its reports about loading."""
    logging: Any = import_module("transformers.utils.logging")
    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load(source: str, read: Callable[..., Any]) -> Any:
    """Call `read` on a model: on its folder or the hub's cache, otherwise on the hub.

    Parameters
    ----------
    source : str
        Folder, or name on the hub.
    read : callable
        A ``from_pretrained`` function, which takes `source` and ``local_files_only``.

    Returns
    -------
    Any
        The result of `read`.

    Raises
    ------
    InputError
        If the model can't be read.
    """
    with one_line(source), silent_transformers():
        # a cached model must not need the network
        try:
            return read(source, local_files_only=True)
        except OSError:
            if Path(source).is_dir():
                raise
        return read(source)


@lru_cache(maxsize=8)
def _files_digest(folder: Path, files: tuple[tuple[Path, tuple[int, int]], ...]) -> str:
    # `files` also holds sizes and times of change: they make the cache read a changed file again
    lines = [f"{path.relative_to(folder).as_posix()} {file_digest(path)}" for path, _ in files]
    return sha256("\n".join(lines).encode()).hexdigest()


@lru_cache(maxsize=8)
def _commit(source: str) -> str:
    """Return a model's commit on the hub: that of the cached copy, which `load` would use."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    cached = try_to_load_from_cache(source, "config.json")
    if isinstance(cached, str):
        return Path(cached).parent.name
    return str(HfApi().model_info(source, timeout=_HUB_TIMEOUT).sha)


@contextmanager
def one_line(source: str) -> Iterator[None]:
    """Turn any error of the packages into an InputError with a message of one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        if Path(source).is_dir():
            message = f"holds no model that can be read ({reason}); give another or save it again"
        else:
            message = (
                "is no folder here and can't be loaded from the Hugging Face hub "
                f"({reason}); give the folder of a saved model, or check the name and the "
                "connection"
            )
        raise InputError(f"{source}: {message}") from error
