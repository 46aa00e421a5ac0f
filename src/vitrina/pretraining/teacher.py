"""A teacher: a sentence transformer whose vectors of titles the encoder learns to predict.

It is needed only while a run computes these vectors, never to use the encoder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vitrina.errors import InputError, MissingExtraError, shown
from vitrina.files import file_digest
from vitrina.pretraining.settings import Settings
from vitrina.sealed import MIB

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]
Encode = Callable[[list[str]], Vectors]

_MOST_TOKENS = 64  # of a title; the rest is cut off
_BATCH = 32  # titles that the teacher encodes at once; longer batches have more padding
_LARGEST_CARD = MIB


def require_teacher(settings: Settings) -> None:
    """Check that the teacher is there, before minutes of other work; fetch it from the hub.

    Raises
    ------
    InputError
        If there is no model at its place.
    MissingExtraError
        If sentence-transformers is not installed.
    """
    if settings.teacher is None:
        return
    if find_spec("sentence_transformers") is None:
        raise MissingExtraError("sentence-transformers", "teacher")
    teacher_folder(settings.teacher)


def teacher_seconds(settings: Settings) -> float:
    """Return the time that the teacher may take, in seconds; at most half of the whole run's."""
    minutes = settings.teacher_minutes if settings.teacher is not None else 0.0
    if settings.max_minutes is not None:
        minutes = min(minutes, settings.max_minutes / 2)
    return 60 * minutes


def teacher_folder(source: str) -> Path:
    """Return the folder of a model: the folder itself, the hub's cache, or a fresh copy in it.

    Parameters
    ----------
    source : str
        Folder, or name on the Hugging Face hub.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If there is no folder and no such name, or if it holds no model.
    """
    folder = Path(source)
    if folder.is_dir():
        missing = _missing_part(folder)
        if missing is not None:
            raise InputError(
                f"`teacher` is '{source}', which has no {missing}; give the folder of a saved "
                "sentence transformer"
            )
        return folder
    if folder.exists():
        raise InputError(f"`teacher` is '{source}', a file; give the folder of a saved model")
    with _one_line(source, "is no folder here and can't be loaded from the Hugging Face hub"):
        return _hub_folder(source)


def _hub_folder(source: str) -> Path:
    """Return the folder of a model in the hub's cache, loading it from the hub if needed."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "*.txt", "*.model", "README.md"]
    others = ["onnx/*", "openvino/*"]
    # a cached model must not need the network
    try:
        cached = snapshot_download(
            source, allow_patterns=wanted, ignore_patterns=others, local_files_only=True
        )
        if _missing_part(Path(cached)) is None:
            return Path(cached)
    except LocalEntryNotFoundError:
        pass
    folder = Path(snapshot_download(source, allow_patterns=wanted, ignore_patterns=others))
    missing = _missing_part(folder)
    if missing is not None:
        raise InputError(
            f"`teacher` is '{source}', which has no {missing}; choose a sentence transformer"
        )
    return folder


def _missing_part(folder: Path) -> str | None:
    """What a folder lacks to be a model, in words; None if nothing.

    Checked here, because transformers uses an empty tokenizer if it finds none.
    """
    # models of several modules may have the transformer's files in a folder of their own
    places = [folder, folder / "0_Transformer", folder / "0_StaticEmbedding"]
    required = {
        "configuration (config.json)": ("config.json", "modules.json"),
        "weights (*.safetensors)": ("*.safetensors",),
        "tokenizer (tokenizer.json)": ("tokenizer.json", "vocab.txt", "vocab.json", "*.model"),
    }
    for what, patterns in required.items():
        if not any(any(place.glob(name)) for place in places for name in patterns):
            return what
    return None


def open_teacher(source: str, device: torch.device) -> tuple[Encode, dict[str, Any]]:
    """Load a sentence transformer.

    Parameters
    ----------
    source : str
        Folder, or name on the Hugging Face hub.
    device : torch.device

    Returns
    -------
    encode : callable
        Takes titles and returns their vectors, pooled as the model's own configuration says.
    about : dict
        Its ``name``, the ``dimension`` of its vectors, the SHA-256 of its weights (``digest``) and
        its ``licence``, if it names one.

    Raises
    ------
    InputError
        If it is no sentence transformer.
    MissingExtraError
        If sentence-transformers is not installed.
    """
    folder = teacher_folder(source)
    try:
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError as error:
        raise MissingExtraError("sentence-transformers", "teacher") from error

    with _one_line(source, "is no sentence transformer that can be read"), _silent():
        # torch's fused attention is ten times slower under `faster_torch`
        options = {"attn_implementation": "eager"}
        model = SentenceTransformer(
            str(folder), device=str(device), local_files_only=True, model_kwargs=options
        ).float()
        if isinstance(model.max_seq_length, int):  # static embeddings have no limit
            model.max_seq_length = min(model.max_seq_length, _MOST_TOKENS)

        def encode(titles: list[str]) -> Vectors:
            with _silent():
                vectors = model.encode(titles, batch_size=_BATCH, show_progress_bar=False)
            return np.asarray(vectors, np.float32)

        about = {
            "name": shown(source),
            "dimension": encode(["title"]).shape[1],
            "digest": weights_digest(folder),
        }
        licence = stated_licence(folder)
        if licence is not None:
            about["licence"] = licence
    return encode, about


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of a model's weights: of its only file, or of the list of several."""
    files = sorted(folder.rglob("*.safetensors"))
    if len(files) == 1:
        return file_digest(files[0])
    lines = [f"{file_digest(file)}  {file.relative_to(folder).as_posix()}" for file in files]
    return sha256("\n".join(lines).encode()).hexdigest()


def stated_licence(folder: Path) -> str | None:
    """Return the licence in the front matter of a model's README.md or in its config.json."""
    fields: dict[str, str] = {}
    card = folder / "README.md"
    if card.is_file():
        with card.open("rb") as opened:
            text = opened.read(_LARGEST_CARD).decode("utf-8", "replace")
        front = re.match(r"\s*---\s*\n(.*?)\n---", text, re.DOTALL)
        for line in front.group(1).splitlines() if front else ():
            name, colon, value = line.partition(":")
            if colon and name in ("license", "license_name"):
                fields[name] = value.strip().strip("'\"")
    licence = fields.get("license")
    if licence == "other":
        licence = fields.get("license_name", licence)
    config = folder / "config.json"
    if not licence and config.is_file():
        content = json.loads(config.read_text("utf-8"))
        licence = content.get("license") if isinstance(content, dict) else None
    return shown(licence, 100) if isinstance(licence, str) and licence else None


@contextmanager
def _one_line(source: str, problem: str) -> Iterator[None]:
    """Turn any error of the packages into an InputError with a message of one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise InputError(
            f"`teacher` is '{source}', which {problem} ({shown(reason)}); give the folder of a "
            "saved sentence transformer, or check the name and the connection"
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress the reports and progress bars of transformers and sentence-transformers."""
    import logging

    # untyped
    transformers_logging: Any = import_module("transformers.utils.logging")
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    own = logging.getLogger("sentence_transformers")
    own_level = own.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    own.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        own.setLevel(own_level)
        if bars:
            transformers_logging.enable_progress_bar()
