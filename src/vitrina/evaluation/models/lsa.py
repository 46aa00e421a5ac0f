"""Latent semantic analysis: vectors from the words and n-grams of a shop's titles, without labels.

Source: Deerwester et al. 1990, Indexing by latent semantic analysis.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import safetensors.numpy
from sklearn.decomposition import TruncatedSVD
from threadpoolctl import threadpool_limits

from vitrina.classification.linear import Rows
from vitrina.evaluation.model import Fitted, VectorModel
from vitrina.evaluation.models.bag_of_words import ngram_vectorizer
from vitrina.evaluation.models.stored_vectors import Encode, StoredVectorsModel, Vectors
from vitrina.evaluation.shop import Shop
from vitrina.evaluation.task import Task
from vitrina.files import atomic_path, write_json
from vitrina.hashing import content_key
from vitrina.progress import Progress

# Four iterations of the randomised SVD gave the same AUC on validation rows, within 0.002.
_ITERATIONS = 2


@dataclass(frozen=True, kw_only=True)
class LSA(VectorModel):
    """A linear model on LSA vectors: TF-IDF features, projected by a truncated SVD.

    The features are the words, pairs of words and character n-grams of
    `vitrina.evaluation.models.bag_of_words.ngram_vectorizer`. They and the SVD are fitted on the
    titles of the task's shop except for held-out ones, or, for a task without a shop, on the
    training titles of the task. Tasks of one shop share the vectors. skrub's StringEncoder is
    another LSA of this kind.

    Attributes
    ----------
    shops : mapping of str to Shop
        The shops to fit on, by name; `Task.sessions` is such a name.
    dim : int, default 512
        Length of a vector; less if there are fewer titles or features.
    max_titles : int, default 100,000
        Fit on a random sample of this many titles.
    max_features : int, default 50,000
        Number of words and pairs of words, and also of character n-grams: the most frequent ones.
    seed : int, default 0
        Random seed of the sample and of the SVD.
    """

    shops: Mapping[str, Shop] = field(default_factory=dict, hash=False, repr=False)
    dim: int = 512
    max_titles: int = 100_000
    max_features: int = 50_000
    seed: int = 0

    vectors_alone: ClassVar[bool] = True

    def settings(self) -> dict[str, Any]:
        digests = {name: shop.digest for name, shop in self.shops.items()}
        return {**super().settings(), "shops": digests, "iterations": _ITERATIONS}

    def prepare(self, tasks: Sequence[Task], *, quiet: bool = False) -> dict[str, float]:
        """Fit on the shops of the tasks and encode the titles, unless that was done before.

        Returns
        -------
        dict of str to float
            Means over the shops: a task needs one of them.
        """
        models: dict[str, _FittedLSA] = {}
        tasks_of: dict[str, list[Task]] = {}
        for task in tasks:
            model = self._fitted_on(task)
            key = model.digest()
            models[key] = model
            tasks_of.setdefault(key, []).append(task)
        costs = [model.prepare(tasks_of[key], quiet=quiet) for key, model in models.items()]
        if not costs:
            return {}
        return {what: float(np.mean([cost[what] for cost in costs])) for what in costs[0]}

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        return self._fitted_on(task).fit(task, rows, seed)

    def vectors(self, task: Task) -> Vectors:
        vectors: Vectors = self._fitted_on(task).vectors(task)
        return vectors

    def _fitted_on(self, task: Task) -> _FittedLSA:
        """Return the LSA of the task's titles: of its shop's, or of its own."""
        return _FittedLSA(
            name=self.name,
            folder=self.folder,
            corpus=self.shops.get(task.sessions, task),
            dim=self.dim,
            max_titles=self.max_titles,
            max_features=self.max_features,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class _FittedLSA(StoredVectorsModel):
    """The LSA of one collection of titles.

    Attributes
    ----------
    corpus : Shop or Task
        The shop, or the task whose training titles are used.
    """

    corpus: Shop | Task = field(hash=False, repr=False)
    dim: int
    max_titles: int
    max_features: int
    seed: int

    def settings(self) -> dict[str, Any]:
        if isinstance(self.corpus, Shop):
            origin = self.corpus.digest
        else:
            origin = content_key(self._titles())
        return {**super().settings(), "corpus": origin, "iterations": _ITERATIONS}

    def prepare(self, tasks: Sequence[Task], *, quiet: bool = False) -> dict[str, float]:
        if not self._saved().exists():
            self._fit(quiet)
        cost: dict[str, float] = json.loads((self._saved() / "cost.json").read_text("utf-8"))
        return {**cost, **super().prepare(tasks, quiet=quiet)}

    def open(self) -> tuple[Encode, int]:
        folder = self._saved()
        arrays = safetensors.numpy.load_file(folder / "model.safetensors")
        vocabularies = json.loads((folder / "vocabularies.json").read_text("utf-8"))
        vectorizer = ngram_vectorizer(np.float32)
        for part, part_vectorizer in vectorizer.transformer_list:
            part_vectorizer.set_params(vocabulary=vocabularies[part])
            part_vectorizer.idf_ = arrays[f"{part}_idf"]
        projection = arrays["projection"]

        def encode(titles: list[str]) -> Vectors:
            vectors: Vectors = vectorizer.transform(titles) @ projection
            return vectors

        files = (folder / "model.safetensors", folder / "vocabularies.json")
        return encode, sum(file.stat().st_size for file in files)

    def _titles(self) -> list[str]:
        """All titles to fit on, in an order that does not depend on the tasks."""
        if isinstance(self.corpus, Shop):
            titles: list[str] = self.corpus.catalogue().titles.to_list()
            return titles
        return sorted(set(self.corpus.titles_of(self.corpus.train)))

    def _fit(self, quiet: bool) -> None:
        """Fit the features and the SVD, and save them."""
        start = time.perf_counter()
        titles = self._titles()
        if len(titles) > self.max_titles:
            rng = np.random.default_rng(self.seed)
            sample = rng.choice(len(titles), self.max_titles, replace=False)
            titles = [titles[row] for row in np.sort(sample)]

        vectorizer = ngram_vectorizer(np.float32, self.max_features)
        with Progress(f"{self.name}: TF-IDF, then SVD", 2, quiet=quiet) as progress:
            features = vectorizer.fit_transform(titles)
            progress.update(1)
            # One BLAS thread adds in one order: the vectors don't depend on the number of
            # processors.
            with threadpool_limits(1, "blas"):
                n = min(self.dim, *features.shape)
                svd = TruncatedSVD(n, n_iter=_ITERATIONS, random_state=self.seed).fit(features)
            progress.update(2)

        # the rows of the projection are the features: a title's few rows lie close together
        arrays = {"projection": np.ascontiguousarray(svd.components_.T)}
        vocabularies = {}
        for part, part_vectorizer in vectorizer.transformer_list:
            vocabularies[part] = part_vectorizer.get_feature_names_out().tolist()
            arrays[f"{part}_idf"] = part_vectorizer.idf_
        with atomic_path(self._saved()) as temporary:
            temporary.mkdir()
            safetensors.numpy.save_file(arrays, temporary / "model.safetensors")
            write_json(temporary / "vocabularies.json", vocabularies)
            minutes = (time.perf_counter() - start) / 60
            write_json(temporary / "cost.json", {"pretraining_minutes": minutes})

    def _saved(self) -> Path:
        return self._folder() / "lsa"
