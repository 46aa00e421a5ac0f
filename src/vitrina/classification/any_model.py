"""A saved folder of any kind of model: encoder, classifier or regressor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import ENCODER
from vitrina.sealed import kind_of

if TYPE_CHECKING:
    from vitrina.classification.classifier import TitleClassifier
    from vitrina.classification.regressor import TitleRegressor

Model: TypeAlias = "TitleEncoder | TitleClassifier | TitleRegressor"


def load_model(folder: Path) -> Model:
    """Load a folder of any kind of model.

    Raises
    ------
    InputError
        If it is missing, damaged, or holds no model.
    """
    kind = kind_of(folder)
    if kind == ENCODER.name:
        return TitleEncoder.load(folder)
    # these imports load scikit-learn, which an encoder does not need
    from vitrina.classification.classifier import TitleClassifier
    from vitrina.classification.regressor import TitleRegressor
    from vitrina.classification.saved import REGRESSOR

    if kind == REGRESSOR.name:
        return TitleRegressor.load(folder)
    return TitleClassifier.load(folder)
