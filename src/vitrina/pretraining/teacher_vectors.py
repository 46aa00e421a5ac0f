"""A teacher's vectors of a sample of the titles: computed once, stored in the folder of the run.

The teacher encodes a random sample of the titles, within a budget of minutes, before training. A
stopped run continues where it was, and needs the teacher only until the vectors are complete.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrina.errors import InputError
from vitrina.files import atomic_path, file_digest, write_json
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.distillation import Float32, TeacherTargets, sampled_rows
from vitrina.pretraining.run_folder import Interrupted, interrupt_flag
from vitrina.pretraining.settings import Settings
from vitrina.pretraining.stored import (
    ARRAY_BYTES,
    check_rows,
    damaged,
    load_array,
    load_json,
    require_regular,
)
from vitrina.pretraining.teacher import open_teacher, teacher_seconds
from vitrina.progress import Progress
from vitrina.ragged import Ragged

if TYPE_CHECKING:
    import torch

_LONGEST_TITLE = 500  # letters; the teacher encodes the first tokens of them
_PART = 256  # titles that are encoded between two saves
_MOST_DIMENSIONS = 16_384
_LONGEST_TEXT = 1_000  # letters of a text in the record


def write_sample(folder: Path, titles: Sequence[str], seed: int) -> None:
    """Write the texts that the teacher will encode to a new folder, atomically.

    Parameters
    ----------
    folder : Path
    titles : sequence of str
        The titles of the training data, as they stand in the catalogue.
    seed : int
    """
    rows = sampled_rows(len(titles), seed)
    sample = Ragged.from_bytes([titles[row][:_LONGEST_TITLE].encode() for row in rows])
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        np.save(temporary / "text.npy", sample.values)
        np.save(temporary / "text_offsets.npy", sample.offsets)
        texts = [file_digest(temporary / name) for name in ("text.npy", "text_offsets.npy")]
        (temporary / "about.json").write_text(json.dumps({"texts": texts}), "utf-8")


def compute_teacher_vectors(
    folder: Path, data: TrainingData, settings: Settings, device: torch.device, quiet: bool
) -> TeacherTargets | None:
    """Return the teacher's vectors of the sampled titles, computing those that are missing.

    Parameters
    ----------
    folder : Path
        From `write_sample`. The vectors are added to it.
    data : TrainingData
    settings : Settings
    device : torch.device
    quiet : bool

    Returns
    -------
    TeacherTargets or None
        None if `settings` name no teacher.

    Raises
    ------
    InputError
        If the teacher can't be used, or the folder is damaged.
    Interrupted
        After Ctrl-C, once the vectors are saved.
    """
    if settings.teacher is None:
        return None
    stored = StoredVectors(folder)
    rows = sampled_rows(len(data.titles), settings.seed)
    if len(stored.texts) != len(rows):
        raise damaged(folder / "text_offsets.npy", "it does not fit the titles")
    if not stored.finished:
        _encode_sample(stored, settings, settings.teacher, device, quiet)
    vectors = stored.vectors()
    return TeacherTargets(data, settings, rows[: len(vectors)], vectors, stored.record())


def _encode_sample(
    stored: StoredVectors, settings: Settings, teacher: str, device: torch.device, quiet: bool
) -> None:
    """Encode the sample with the teacher, from where it was, until its time is up."""
    encode, about = open_teacher(teacher, device)
    stored.start(about)
    texts = [row.tobytes().decode("utf-8", "replace") for row in stored.texts]
    budget = teacher_seconds(settings)
    started = time.monotonic() - stored.seconds
    with (
        Progress("teacher", len(texts), done=stored.done, quiet=quiet) as progress,
        interrupt_flag() as interrupted,
    ):
        minutes = f"{budget / 60:g} minutes at most"
        progress.note(f"teacher: {about['name']} encodes titles for {minutes}")
        # the first part always: without a vector there is nothing to learn from
        while stored.done < len(texts) and stored.seconds <= budget and not interrupted():
            vectors = encode(texts[stored.done : stored.done + _PART])
            if not np.isfinite(vectors).all():
                raise InputError(
                    f"`teacher` is '{teacher}', whose vectors have numbers that are not "
                    "finite; choose another model"
                )
            stored.add(vectors, time.monotonic() - started)
            progress.update(stored.done)
        if stored.done == len(texts) or stored.seconds > budget:
            stored.finish()
            progress.note(f"teacher: encoded {stored.done:,} of {len(texts):,} sampled titles")
        if interrupted():
            raise Interrupted(
                f"stopped and saved after the teacher's vectors of {stored.done:,} titles; "
                "to continue, run the same again and set `resume`"
            )


class StoredVectors:
    """The folder with the texts of the sample and the vectors that the teacher has computed.

    Parameters
    ----------
    folder : Path
        From `write_sample`.

    Attributes
    ----------
    texts : Ragged, uint8
        The texts in UTF-8.

    Raises
    ------
    InputError
        If the folder is damaged.
    """

    def __init__(self, folder: Path) -> None:
        if folder.is_symlink():
            raise damaged(folder, "it is a link")
        self._folder = folder
        self._about = _checked_about(folder / "about.json")
        for name, digest in zip(("text", "text_offsets"), self._about["texts"], strict=True):
            _check_digest(folder / f"{name}.npy", digest)
        values = load_array(folder / "text.npy", np.uint8)
        self.texts = Ragged(values, load_array(folder / "text_offsets.npy", np.int64))
        check_rows(folder / "text_offsets.npy", self.texts, shortest=0)
        if len(self._about.get("vectors", ())) > ceil(len(self.texts) / _PART):
            raise damaged(folder / "about.json", "it has more vectors than titles")

    @property
    def done(self) -> int:
        """Texts whose vectors are stored."""
        return min(_PART * len(self._about.get("vectors", ())), len(self.texts))

    @property
    def seconds(self) -> float:
        """Time that the teacher has taken, in seconds."""
        return float(self._about.get("seconds", 0.0))

    @property
    def finished(self) -> bool:
        """Whether the teacher is no longer needed."""
        return bool(self._about.get("finished", False))

    def start(self, teacher: dict[str, Any]) -> None:
        """Keep the record of the teacher; raise InputError if another one has begun."""
        before = self._about.setdefault("teacher", teacher)
        if (before["digest"], before["dimension"]) != (teacher["digest"], teacher["dimension"]):
            raise InputError(
                f"{self._folder}: was begun with another `teacher` (the checksum of its weights "
                "differs); give the same one, or set `force` to start over"
            )
        self._about.setdefault("vectors", [])

    def add(self, vectors: Float32, seconds: float) -> None:
        """Store the vectors of the next texts; the teacher has taken `seconds` so far."""
        file = self._file(len(self._about["vectors"]))
        with atomic_path(file) as temporary, temporary.open("wb") as opened:
            np.save(opened, vectors.astype(np.float32).ravel())
        self._about["vectors"].append(file_digest(file))
        self._about["seconds"] = seconds
        write_json(self._folder / "about.json", self._about)

    def finish(self) -> None:
        """Mark the vectors as complete."""
        self._about["finished"] = True
        write_json(self._folder / "about.json", self._about)

    def vectors(self) -> Float32:
        """Return the stored vectors, an array of shape (titles, dimension)."""
        dimension = self._about["teacher"]["dimension"]
        vectors = np.empty((self.done, dimension), np.float32)
        for number, digest in enumerate(self._about["vectors"]):
            file = self._file(number)
            _check_digest(file, digest)
            part = vectors[number * _PART : (number + 1) * _PART]
            found = load_array(file, np.float32)
            if len(found) != part.size or not np.isfinite(found).all():
                raise damaged(file, "it has not the vectors of its titles")
            part[:] = found.reshape(part.shape)
        return vectors

    def record(self) -> dict[str, Any]:
        """Return what the encoder's record says about the teacher."""
        minutes = round(self.seconds / 60, 2)
        return {**self._about["teacher"], "titles": self.done, "minutes": minutes}

    def _file(self, number: int) -> Path:
        return self._folder / f"vectors-{number:05}.npy"


def _checked_about(path: Path) -> dict[str, Any]:
    """Read about.json and check its fields."""
    about = load_json(path)
    seconds = about.get("seconds", 0.0)
    finished = about.get("finished", False)
    is_valid = (
        _are_digests(about.get("texts"))
        and len(about["texts"]) == 2
        and _are_digests(about.get("vectors", []))
        and type(seconds) in (int, float)
        and 0 <= seconds < float("inf")
        and ("teacher" not in about or _is_teacher(about["teacher"]))
        and (not about.get("vectors") or "teacher" in about)
        and isinstance(finished, bool)
        and (not finished or bool(about.get("vectors")))
    )
    if not is_valid:
        raise damaged(path, "it has not the fields of a teacher's vectors")
    return about


def _is_teacher(value: Any) -> bool:
    """Whether a value is what `open_teacher` says about a teacher."""
    fields = {"name", "dimension", "digest", "licence"}
    if not isinstance(value, dict) or not value.keys() <= fields:
        return False
    dimension = value.get("dimension")
    if type(dimension) is not int or not 1 <= dimension <= _MOST_DIMENSIONS:
        return False
    texts = (value.get("name"), value.get("digest"), value.get("licence", ""))
    return all(isinstance(text, str) and len(text) <= _LONGEST_TEXT for text in texts)


def _are_digests(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    return all(isinstance(digest, str) and len(digest) == 64 for digest in value)


def _check_digest(file: Path, digest: str) -> None:
    require_regular(file, ARRAY_BYTES)
    if file_digest(file) != digest:
        raise damaged(file, "its checksum differs")
