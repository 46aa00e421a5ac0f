"""What classifier and regressor have in common: one linear model on the features of titles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from vitrina.classification.explain import Scorer, contributions
from vitrina.classification.features import (
    Rows,
    as_rows,
    checked_encoder,
    joined_features,
    vector_features,
)
from vitrina.classification.labels import Numbers
from vitrina.classification.linear import (
    DEFAULT_PARAMS,
    LinearParams,
    fit_models,
    tune_hyperparameters,
)
from vitrina.classification.saved import SavedModel
from vitrina.classification.tfidf import HashedTfidf
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.files import atomic_path, refuse_existing
from vitrina.metrics import Kind
from vitrina.text.normalize import as_titles

# Rows scored at once, so that memory use hardly grows with the number of titles.
_CHUNK_ROWS = 4_096

# With C or weights far beyond, liblinear doesn't end.
_SMALLEST_C, _LARGEST_C = 1e-12, 1e12


class TitleModel(BaseEstimator):  # type: ignore[misc]
    """Linear models on title vectors and TF-IDF features.

    A score is the sum of the features times one row of `coef_`, plus one number of `intercept_`.
    """

    encoder: TitleEncoder
    C: float | None
    use_words: bool
    tfidf_: HashedTfidf | None
    best_params_: LinearParams
    coef_: npt.NDArray[np.float64]
    intercept_: npt.NDArray[np.float64]

    def _fit_rows(
        self,
        kind: Kind,
        rows: Rows,
        targets: npt.NDArray[Any],
        n_classes: int,
        weights: Numbers | None,
    ) -> None:
        """Choose the hyperparameters and fit the models.

        Parameters
        ----------
        kind : {"binary", "multiclass", "regression"}
        rows : list of n str, or ndarray of shape (n, width)
        targets : ndarray of shape (n,), int64 or float64
            Numbers of the classes, or numbers to predict.
        n_classes : int
        weights : ndarray of shape (n,), float64, or None
            Above 0.
        """
        encoder = checked_encoder(self.encoder)
        C = self._checked_C()
        forms: Sequence[str] | None = None
        if self.use_words and not isinstance(rows, np.ndarray):
            forms = encoder.weights.tokenizer.normalizer(rows)
        if C is None:
            vectors = vector_features(rows, encoder, beside_words=forms is not None)
            params = tune_hyperparameters(kind, targets, n_classes, vectors, forms, weights)
        else:
            params = LinearParams(DEFAULT_PARAMS.weight, C)
        self.best_params_ = params
        self.tfidf_ = None if forms is None else HashedTfidf.fit(forms)

        features = joined_features(rows, encoder, self.tfidf_, params.weight)
        models = fit_models(kind, features, targets, params.C, weights)
        self.coef_ = np.concatenate([np.atleast_2d(model.coef_) for model in models])
        self.intercept_ = np.concatenate([np.atleast_1d(model.intercept_) for model in models])

    def _scores(self, titles: Any) -> npt.NDArray[np.float64]:
        """Compute the scores of n titles by each of k models, shape (n, k).

        Raises
        ------
        InputError
            If the titles are not text, or are vectors while the model has TF-IDF features.
        """
        check_is_fitted(self, "coef_")
        encoder = checked_encoder(self.encoder)
        rows = as_rows(titles, encoder)
        if self.tfidf_ is not None and isinstance(rows, np.ndarray):
            raise InputError(
                "titles: this model needs the titles' words, which vectors don't have; give "
                "titles, or set `use_words` to False and fit again"
            )
        of_vector, of_words = self._split_coef(encoder)
        scores = np.zeros((len(rows), len(self.coef_)))
        for start in range(0, len(rows), _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            part = rows[chunk]
            vectors = vector_features(part, encoder, beside_words=self.tfidf_ is not None)
            # A sparse product and einsum add in one order, however many rows there are; a dense
            # product by BLAS doesn't.
            if self.tfidf_ is not None:
                scores[chunk] = self.tfidf_(encoder.weights.tokenizer.normalizer(part)) @ of_words.T
                vectors *= self.best_params_.weight
            scores[chunk] += np.einsum("nd,kd->nk", vectors, of_vector)
        scores += self.intercept_
        return scores

    def _split_coef(self, encoder: TitleEncoder) -> tuple[Numbers, Numbers]:
        """The coefficients of the vectors and of the TF-IDF features."""
        weights = encoder.weights
        n = weights.width if self.tfidf_ is None else weights.contextual_dim
        return self.coef_[:, :n], self.coef_[:, n:]

    def _explain(
        self,
        titles: Any,
        prediction: npt.NDArray[Any],
        model: npt.NDArray[np.int64],
        sign: npt.NDArray[np.float64],
    ) -> pl.DataFrame:
        """Divide a score of each title among its words.

        Parameters
        ----------
        titles : column of n str
        prediction : ndarray of shape (n,)
        model : ndarray of shape (n,), int64
            The row of `coef_` that gives each title's score.
        sign : ndarray of shape (n,), float64
            1, or -1 where the opposite of the score is divided.
        """
        encoder = checked_encoder(self.encoder)
        of_vector, of_words = self._split_coef(encoder)
        scorer = Scorer(
            encoder=encoder,
            tfidf=self.tfidf_,
            of_vector=of_vector,
            of_words=of_words,
            intercept=self.intercept_,
            weight=1.0 if self.tfidf_ is None else self.best_params_.weight,
        )
        # half a surrogate pair can't be written; the encoder replaces it too
        texts = [(title or "").encode("utf-8", "replace").decode() for title in as_titles(titles)]
        return contributions(scorer, texts, prediction, model, sign)

    def _save(self, path: str | Path, force: bool, kind: str, **of_classifier: Any) -> None:
        """Write the model to a folder of the given kind."""
        check_is_fitted(self, "coef_")
        encoder = checked_encoder(self.encoder)
        path = Path(path)
        refuse_existing(path, force, kind)
        saved = SavedModel(
            encoder.weights,
            self._checked_C(),
            self.use_words,
            self.best_params_,
            self.coef_,
            self.intercept_,
            self.tfidf_,
            **of_classifier,
        )
        with atomic_path(path, force=force, kind=kind) as folder:
            saved.write_into(folder)

    @classmethod
    def _loaded(cls, saved: SavedModel, **of_classifier: Any) -> Self:
        """Return the model that a folder holds."""
        encoder = TitleEncoder(saved.weights)
        model = cls(encoder=encoder, C=saved.C, use_words=saved.use_words, **of_classifier)
        model.best_params_ = saved.params
        model.coef_ = saved.coef
        model.intercept_ = saved.intercept
        model.tfidf_ = saved.tfidf
        return model

    def _checked_C(self) -> float | None:
        if self.C is None:
            return None
        strength = float(self.C) if isinstance(self.C, Real) else math.nan
        if not _SMALLEST_C <= strength <= _LARGEST_C:
            raise InputError(
                f"`C` is {self.C!r}; it must be a number from {_SMALLEST_C:g} to {_LARGEST_C:g}, "
                "or None to choose it by cross-validation"
            )
        return strength

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        return tags


def without_weightless(
    rows: Rows, targets: npt.NDArray[Any], weights: Numbers | None
) -> tuple[Rows, npt.NDArray[Any], Numbers | None]:
    """Leave out the rows of weight 0."""
    if weights is None or weights.all():
        return rows, targets, weights
    kept = np.flatnonzero(weights)
    kept_rows = rows[kept] if isinstance(rows, np.ndarray) else [rows[row] for row in kept]
    return kept_rows, targets[kept], weights[kept]
