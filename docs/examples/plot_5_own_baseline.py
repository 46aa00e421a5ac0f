"""
Comparing with what you have
============================

You have a classifier already. Is vitrina's better on your labels? Give both the same rows, many
times, and look at the differences, not at two numbers.
"""

# %%
# The task
# --------
# Does a title belong to the drugstore?

import polars as pl

from vitrina import TitleClassifier, TitleEncoder
from vitrina.data.sources import completejourney_tables

products = pl.read_parquet(completejourney_tables() / "products.parquet")
title = pl.concat_str("product_type", "package_size", separator=" ", ignore_nulls=True)
task = (
    products.select(title=title, drugstore=pl.col("department") == "DRUG GM")
    .filter(pl.col("title") != "")
    .unique("title", maintain_order=True)
    .sample(6_000, seed=0, shuffle=True)
)
titles, labels = task["title"].to_numpy(), task["drugstore"].to_numpy()

# %%
# Two models
# ----------
# Yours can be anything with ``fit`` and ``predict_proba``.

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

encoder = TitleEncoder.load("shop/encoder")  # from the first example
models = {
    "yours": lambda: make_pipeline(CountVectorizer(), MultinomialNB()),
    "vitrina": lambda: TitleClassifier(encoder, C=2.0),
}

# %%
# Paired differences
# ------------------
# Ten subsamples of 100 labels. All other rows test.

import numpy as np
from sklearn.metrics import roc_auc_score

rng = np.random.default_rng(0)
aucs = {name: [] for name in models}
for _ in range(10):
    order = rng.permutation(len(titles))
    train, test = order[:100], order[100:]
    for name, make in models.items():
        model = make().fit(titles[train], labels[train])
        aucs[name].append(roc_auc_score(labels[test], model.predict_proba(titles[test])[:, 1]))

difference = np.subtract(aucs["vitrina"], aucs["yours"])
error = difference.std(ddof=1) / np.sqrt(len(difference))
print(f"yours {np.mean(aucs['yours']):.3f}, vitrina {np.mean(aucs['vitrina']):.3f}")
print(f"difference {difference.mean():+.3f} ± {error:.3f} (standard error)")

# %%
# ``vitrina evaluate`` does this for many models, sizes and tasks, with intervals that also count
# the uncertainty of the test rows, and writes a report: see :doc:`/evaluate`.
