"""A saved encoder, classifier or regressor as a model of MLflow, without pickle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitrina._version import __version__
from vitrina.classification.any_model import Model, load_model
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.vector_file import ENCODER_METADATA
from vitrina.errors import MissingExtraError

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.models.model import ModelInfo

TITLE = "title"
"""The one column that the model takes."""

_PREDICTION = "prediction"


def log_model(
    folder: str | Path, *, name: str = "model", registered_model_name: str | None = None
) -> ModelInfo:
    """Log a saved encoder, classifier or regressor as an MLflow model of the flavour pyfunc.

    The model is the folder itself, with its checksums. It belongs to the active run of MLflow, if
    there is one. Its metadata have the digest of the encoder, under the key `vitrina_encoder`.

    The model takes a data frame with the column `title`, of text. A missing title is None. An
    encoder returns an array of shape (n, width), float32. A classifier returns a data frame with
    the columns `prediction` and `probability_CLASS` for each class, a regressor the column
    `prediction`; rows without a title get no prediction.

    Parameters
    ----------
    folder : str or Path
    name : str, optional
        Name of the logged model.
    registered_model_name : str, optional
        Model of the registry that gets this one as its new version.

    Returns
    -------
    mlflow.models.model.ModelInfo
        Its `model_uri` loads the model.

    Raises
    ------
    InputError
        If the folder is missing, damaged, or holds no such model.
    MissingExtraError
        If mlflow or pandas is not installed.

    Examples
    --------
    >>> from vitrina.tracking import log_model
    >>> log_model("encoder", registered_model_name="titles")  # doctest: +SKIP
    """
    try:
        import mlflow.pyfunc
        import pandas  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(error.name or "mlflow-skinny", "mlflow") from error

    model = load_model(Path(folder))
    encoder = model if isinstance(model, TitleEncoder) else model.encoder
    info: ModelInfo = mlflow.pyfunc.log_model(
        name=name,
        registered_model_name=registered_model_name,
        loader_module=__name__,
        data_path=str(folder),
        signature=_signature(model),
        metadata={ENCODER_METADATA: encoder.weights.digest},
        pip_requirements=[f"vitrina[mlflow]=={__version__}"],
    )
    return info


def _signature(model: Model) -> ModelSignature:
    """What a model takes and returns."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    inputs = Schema([ColSpec(DataType.string, TITLE, required=False)])
    if isinstance(model, TitleEncoder):
        vectors = TensorSpec(np.dtype(np.float32), (-1, model.weights.width))
        return ModelSignature(inputs, Schema([vectors]))
    classes = getattr(model, "classes_", None)
    if classes is None:
        return ModelSignature(inputs, Schema([ColSpec(DataType.double, _PREDICTION)]))
    types = {"U": DataType.string, "i": DataType.long, "b": DataType.boolean}
    columns: list[ColSpec | TensorSpec] = [ColSpec(types[classes.dtype.kind], _PREDICTION)]
    for label in classes.tolist():
        columns.append(ColSpec(DataType.double, f"probability_{label}"))
    return ModelSignature(inputs, Schema(columns))


def _load_pyfunc(path: str) -> _TitleModel:
    """Load the model; MLflow calls this, also in the executors of Spark."""
    model = load_model(Path(path))
    encoder = model if isinstance(model, TitleEncoder) else model.encoder
    if "pyspark" in sys.modules:
        from pyspark import TaskContext

        task = TaskContext.get()
        if task is not None:
            encoder.threads = task.cpus()
    return _TitleModel(model)


class _TitleModel:
    """What MLflow calls: data frames of titles in, vectors or predictions out."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """Vectors, or a data frame of predictions, of the column `title`."""
        import pandas as pd

        titles = model_input[TITLE]
        if isinstance(self.model, TitleEncoder):
            return self.model.encode(titles)
        classes = getattr(self.model, "classes_", None)
        if classes is None:
            columns = {_PREDICTION: self.model.predict(titles)}
        else:
            probabilities = self.model.predict_proba(titles)
            columns = {_PREDICTION: classes[probabilities.argmax(axis=1)]}
            for label, column in zip(classes.tolist(), probabilities.T, strict=True):
                columns[f"probability_{label}"] = column
        table = pd.DataFrame(columns, titles.index)
        missing = titles.isna()
        # columns of whole numbers or truth values have no missing ones, so their type would change
        return table.where(~missing, axis=0) if missing.any() else table
