"""Pre-trained language models, frozen: BERT and its kin (paper A.2: BETO), static embeddings."""

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

BATCH = 64
"""Titles, all of one length, that go through a transformer at once."""
ATTENTION = "eager"
"""torch's fused attention is ten times slower under `faster_torch`."""

_SECONDS_FOR_THE_HUB = 10.0
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True, kw_only=True)
class _Pretrained(StoredVectorsModel):
    """An encoder that others trained.

    Attributes
    ----------
    source : its folder, or its name on the Hugging Face hub
    """

    source: str

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "source": source_digest(self.source)}

    def check(self) -> None:
        super().check()
        require_model(self.source)


@dataclass(frozen=True, kw_only=True)
class Transformer(_Pretrained):
    """The vectors of a pre-trained transformer's last layer (paper A.2: BETO's [CLS]).

    A title's vector doesn't depend on the titles encoded with it, but for the rounding of sums:
    batches hold titles of one length, so nothing is padded.

    Attributes
    ----------
    source : a folder in the layout of transformers or sentence-transformers, or a name on the hub;
        BETO by default
    pooling : the first token's vector, or the mean of all tokens'
    prefix : what the model wants before each text ("query: " for E5)
    max_length : tokens; the rest of a title is cut off
    """

    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")

    source: str = "dccuchile/bert-base-spanish-wwm-uncased"
    pooling: Literal["cls", "mean"] = "cls"
    prefix: str = ""
    max_length: int = 64

    def digest(self) -> str:
        """The same for both poolings: one pass gives both, side by side."""
        return StoredVectorsModel.digest(replace(self, pooling="cls"))

    def pooled(self, vectors: Vectors) -> Vectors:
        width = vectors.shape[1] // 2
        return vectors[:, :width] if self.pooling == "cls" else vectors[:, width:]

    def open(self) -> tuple[Encode, int]:
        self.check()
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
        model, found = load(self.source, read)
        missing = [name for name in found["missing_keys"] if "pooler" not in name]
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
            with torch.inference_mode(), faster_torch():
                for length in np.unique(lengths):
                    rows = np.flatnonzero(lengths == length)
                    for start in range(0, len(rows), BATCH):
                        part = rows[start : start + BATCH]
                        batch = torch.tensor([tokens[row] for row in part])
                        last = model(batch, attention_mask=torch.ones_like(batch))[0]  # (n, t, d)
                        vectors[part] = torch.cat([last[:, 0], last.mean(1)], 1).numpy()
            return vectors

        weights = [*model.parameters(), *model.buffers()]
        return encode, sum(weight.nbytes for weight in weights)


@dataclass(frozen=True, kw_only=True)
class StaticEmbedding(_Pretrained):
    """The mean of the tokens' vectors, from the table of a model2vec model."""

    packages: ClassVar[tuple[str, ...]] = ("model2vec",)

    def open(self) -> tuple[Encode, int]:
        self.check()
        from huggingface_hub import snapshot_download
        from model2vec import StaticModel

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
    """The name of a model for people: its folder's name, or the last part of its name on the hub.

    Folders whose names say nothing are called as their configuration or the hub's cache calls them.
    """
    folder = Path(source)
    if not folder.is_dir():
        return source.rstrip("/").rpartition("/")[2]
    folder = folder.resolve()
    if folder.parent.name == "snapshots":  # models--dccuchile--bert-base/snapshots/4ed9a...
        return folder.parent.parent.name.rpartition("--")[2]
    if folder.name in ("model", "0_Transformer"):
        config = folder / "config.json"
        known = json.loads(config.read_text("utf-8")) if config.is_file() else {}
        return Path(known.get("_name_or_path") or folder.parent.name).name
    return folder.name


def source_digest(source: str) -> str:
    """What identifies a model's weights: a hash of the folder's files, or the commit on the hub."""
    folder = Path(source)
    if not folder.is_dir():
        with one_line(source):
            return f"{source}@{_commit(source)}"
    # a model card is for people, who may edit it
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".md")
    stats = [path.stat() for path in files]
    stamps = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
    return _files_digest(folder, tuple(zip(files, stamps, strict=True)))


def require_model(source: str) -> None:
    """Raise InputError if a folder holds no model, or a name can't be found on the hub."""
    folder = Path(source)
    if not folder.is_dir():
        source_digest(source)
        return
    # transformers takes an empty tokenizer where it finds none
    wanted = {
        "configuration (config.json)": ("config.json",),
        "weights (*.safetensors)": _WEIGHTS,
        "tokenizer (tokenizer.json)": _TOKENIZERS,
    }
    for what, patterns in wanted.items():
        if not any(any(folder.glob(pattern)) for pattern in patterns):
            raise InputError(f"{folder}: has no {what}; give the folder of a saved model")


@contextmanager
def silent_transformers() -> Iterator[None]:
    """No progress bars and no reports of loading."""
    logging: Any = import_module("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load(source: str, read: Callable[..., Any]) -> Any:
    """What `read` gives: from the folder or the hub's cache, else from the hub."""
    with one_line(source), silent_transformers():
        try:
            return read(source, local_files_only=True)
        except OSError:
            if Path(source).is_dir():
                raise
        return read(source)


@lru_cache(maxsize=8)
def _files_digest(folder: Path, files: tuple[tuple[Path, tuple[int, int]], ...]) -> str:
    lines = [f"{path.relative_to(folder).as_posix()} {file_digest(path)}" for path, _ in files]
    return sha256("\n".join(lines).encode()).hexdigest()


@lru_cache(maxsize=8)
def _commit(source: str) -> str:
    """The commit of a model on the hub: the cached one, as that is what is going to run."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    cached = try_to_load_from_cache(source, "config.json")
    if isinstance(cached, str):
        return Path(cached).parent.name
    return str(HfApi().model_info(source, timeout=_SECONDS_FOR_THE_HUB).sha)


@contextmanager
def one_line(source: str) -> Iterator[None]:
    """Say in one line what the packages say in many."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        if Path(source).is_dir():
            message = f"holds no model that can be read ({reason}); give another, or save it again"
        else:
            message = (
                f"is no folder here and can't be had from the Hugging Face hub ({reason}); give "
                "the folder of a saved model, or check the name and the connection"
            )
        raise InputError(f"{source}: {message}") from error
