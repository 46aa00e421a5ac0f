"""A regressor of titles: ridge regression on the frozen encoder's vectors and on TF-IDF features of
the titles. The paper names the size of packages as such a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.base import RegressorMixin

from vitrina.classification.features import as_rows, checked_encoder
from vitrina.classification.labels import (
    as_sample_weight,
    as_targets,
    require_one_for_each_title,
    require_several_targets,
)
from vitrina.classification.saved import REGRESSOR, SavedModel
from vitrina.classification.title_model import TitleModel, without_weightless
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.text.normalize import as_titles

KIND = REGRESSOR.name


class TitleRegressor(RegressorMixin, TitleModel):  # type: ignore[misc]
    """Ridge regression on title vectors of a frozen encoder and on TF-IDF features.

    It predicts a number from a title, for example the length of the package. The features are those
    of `vitrina.TitleClassifier`, and the methods take the same titles or vectors. With 300 titles
    or more, `fit` chooses the weight of the vectors and C by cross-validated R²
    (`vitrina.classification.linear.tune_hyperparameters`).

    Prices, sizes and counts often have few very large values, which then decide the fit. Their
    logarithm can be predicted better: see the second example.

    Parameters
    ----------
    encoder : TitleEncoder
    C : float, optional
        Inverse strength of the regularisation, from 1e-12 to 1e12: the ridge regression's alpha
        is 1 / C. By default, `fit` chooses it and the weight of the vectors.
    use_words : bool, optional
        Whether to use TF-IDF features beside the vectors.

    Attributes
    ----------
    tfidf_ : HashedTfidf or None
        The d words and n-grams that have a coefficient.
    best_params_ : LinearParams
        Weight of the vectors relative to the TF-IDF features, and C, as given or chosen.
    coef_ : ndarray of shape (1, contextual_dim + d) or, without words, (1, width), float64
    intercept_ : ndarray of shape (1,), float64

    Examples
    --------
    >>> from vitrina import TitleEncoder, TitleRegressor
    >>> titles = ["APPLE SAUCE 24 OZ", "APPLE JUICE 64 OZ", "DOG FOOD 20 LB", "CAT FOOD 16 LB"]
    >>> pounds = [1.5, 4.0, 20.0, 16.0]
    >>> regressor = TitleRegressor(TitleEncoder.load("encoder")).fit(titles, pounds)
    >>> bool(regressor.predict(["DOG FOOD"])[0] > regressor.predict(["APPLE JUICE"])[0])
    True

    The logarithm of the numbers:

    >>> import numpy as np
    >>> from sklearn.compose import TransformedTargetRegressor
    >>> in_logarithms = TransformedTargetRegressor(regressor, func=np.log, inverse_func=np.exp)
    >>> in_logarithms.fit(titles, pounds).predict(["DOG FOOD"]).shape
    (1,)
    """

    def __init__(
        self, encoder: TitleEncoder, C: float | None = None, use_words: bool = True
    ) -> None:
        self.encoder = encoder
        self.C = C
        self.use_words = use_words

    def fit(self, titles: Any, targets: Any, sample_weight: Any = None) -> TitleRegressor:
        """Learn from n titles and their numbers.

        Parameters
        ----------
        titles : list, or numpy, polars, pyarrow or pandas column, of n str
            Or their vectors, see `vitrina.TitleClassifier`.
        targets : list, or numpy, polars, pyarrow or pandas column, of n float or int
            From -1e12 to 1e12.
        sample_weight : list, or numpy, polars, pyarrow or pandas column, of n float, optional
            How much each row counts, 0 or more, also where cross-validation chooses C and the
            weight of the vectors. Rows of weight 0 are left out. As in scikit-learn, doubling all
            weights has the effect of doubling C.

        Returns
        -------
        TitleRegressor
            The regressor itself.

        Raises
        ------
        InputError
            If there are no rows, the numbers of titles and targets differ, a target is missing, not
            a number or too large, all targets are the same, a weight is negative or missing,
            vectors are not finite or of another width, or a parameter of the constructor is wrong.
        """
        encoder = checked_encoder(self.encoder)
        self._checked_C()
        rows = as_rows(titles, encoder)
        numbers = as_targets(targets)
        require_one_for_each_title(len(numbers), len(rows), "targets")
        weights = as_sample_weight(sample_weight, len(rows))
        rows, numbers, weights = without_weightless(rows, numbers, weights)
        require_several_targets(numbers)
        self._fit_rows("regression", rows, numbers, 0, weights)
        return self

    def predict(self, titles: Any) -> npt.NDArray[np.float64]:
        """Predict the number of each of n titles.

        A title gets the same value, to the last bit, alone and in any batch.

        Parameters
        ----------
        titles : list, or numpy, polars, pyarrow or pandas column, of n str
            Or their vectors, see `vitrina.TitleClassifier`.

        Returns
        -------
        ndarray of shape (n,), float64
            In the unit of the targets.

        Raises
        ------
        InputError
            If the titles are not text, or are vectors while the regressor has TF-IDF features.
        """
        return self._scores(titles)[:, 0]

    def explain(self, titles: Any) -> pl.DataFrame:
        """Divide the predicted number of each title among the title's words.

        Parameters
        ----------
        titles : list, or numpy, polars, pyarrow or pandas column, of n str

        Returns
        -------
        polars.DataFrame
            One row for each word and part of each title, with the columns and parts of
            `vitrina.TitleClassifier.explain`. `prediction` is the predicted number, and
            `contribution` has its unit. All contributions of a title add up to the prediction,
            apart from rounding.

        Raises
        ------
        InputError
            If an entry is not text.
        """
        texts = as_titles(titles)
        numbers = self.predict(texts)
        return self._explain(texts, numbers, np.zeros(len(texts), np.int64), np.ones(len(texts)))

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the regressor and its encoder to a folder, atomically and without pickle.

        Parameters
        ----------
        path : str or Path
        force : bool, optional
            Replace a regressor that exists at `path`.

        Raises
        ------
        InputError
            If `path` exists (unless `force`) or can't be written.
        """
        self._save(path, force, KIND)

    @classmethod
    def load(cls, path: str | Path) -> TitleRegressor:
        """Load the regressor that was saved in a folder.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        TitleRegressor
            Its predictions are those of the saved regressor, to the last bit.

        Raises
        ------
        InputError
            If the folder is missing, incomplete, damaged or of a newer format.
        """
        return cls._loaded(SavedModel.read(Path(path), REGRESSOR))
