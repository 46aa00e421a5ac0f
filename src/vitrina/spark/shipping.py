"""Getting a saved folder to the executors, and loading it there once in each Python process."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from vitrina.classification.any_model import Model, load_model
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.files import atomic_path, file_digest
from vitrina.sealed import MANIFEST

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# A process may serve several jobs in turn, such as one with vectors and one with predictions.
_MODELS_OF_PROCESS = 2

# Names of the archives that each session has already. Spark warns if it gets one again.
_sent: WeakKeyDictionary[SparkSession, set[str]] = WeakKeyDictionary()


@dataclass(frozen=True)
class ModelPlace:
    """Where an executor finds a saved encoder, classifier or regressor.

    Attributes
    ----------
    path : str
        The folder, or the name of the archive that Spark has unpacked.
    is_archive : bool
    digest : str
        SHA-256 of the folder's manifest, which holds the checksum of each file.
    """

    path: str
    is_archive: bool
    digest: str


def place_model(spark: SparkSession, folder: str | Path, *, shared: bool) -> ModelPlace:
    """Make a saved folder available to the executors.

    Parameters
    ----------
    spark : SparkSession
    folder : str or Path
        It was loaded before, so its manifest is a valid one.
    shared : bool
        Whether all executors can read the folder under the same path. Otherwise Spark sends it to
        them as an archive.

    Returns
    -------
    ModelPlace
    """
    path = Path(folder).expanduser().resolve()
    digest = file_digest(path / MANIFEST)
    if shared:
        return ModelPlace(str(path), False, digest)
    name = f"vitrina-{digest[:32]}"
    archive = _archives() / f"{name}.zip"
    if not archive.exists():
        # a folder may hold other files, such as those of a version control
        listed = json.loads((path / MANIFEST).read_bytes())["files"]
        with atomic_path(archive) as temporary, zipfile.ZipFile(temporary, "w") as file:
            for member in (MANIFEST, *listed):
                file.write(path / member, member)
    sent = _sent.setdefault(spark, set())
    if name not in sent:
        spark.addArtifacts(f"{archive}#{name}", archive=True)
        sent.add(name)
    return ModelPlace(name, True, digest)


@cache
def _archives() -> Path:
    """A folder for archives. Spark reads them as long as the driver's process lives."""
    folder = tempfile.mkdtemp(prefix="vitrina-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@lru_cache(_MODELS_OF_PROCESS)
def model_at(place: ModelPlace) -> Model:
    """Load a model in a Python process of an executor; the same one is loaded once.

    Parameters
    ----------
    place : ModelPlace

    Returns
    -------
    TitleEncoder, TitleClassifier or TitleRegressor
        It uses as many threads as Spark gives a task.

    Raises
    ------
    InputError
        If the folder is missing or damaged, or is not the one that the driver saw.
    """
    from pyspark import SparkFiles, TaskContext

    path = Path(SparkFiles.get(place.path) if place.is_archive else place.path)
    model = load_model(path)
    if file_digest(path / MANIFEST) != place.digest:
        raise InputError(
            f"{path}: is not the folder that the driver has read: give each model a path of its "
            "own, and don't replace it while a job runs"
        )
    task = TaskContext.get()
    encoder = model if isinstance(model, TitleEncoder) else model.encoder
    encoder.threads = 1 if task is None else task.cpus()
    return model
