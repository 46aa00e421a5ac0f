"""
A task with 100 labels
======================

Is a product the store's own brand? The title doesn't say so. This example compares vitrina's
classifier with a strong bag of n-grams, from 50 to 2,000 labels.
"""

# %%
# The task
# --------
# One row for each title, with the brand of most of its products.

import polars as pl

from vitrina import TitleEncoder, load_public_dataset
from vitrina.data.sources import completejourney_tables

titles = load_public_dataset("completejourney").products.collect()
brands = pl.read_parquet(completejourney_tables() / "products.parquet").select(
    "product_id", "brand"
)
task = (
    titles.join(brands, on="product_id")
    .drop_nulls("title")
    .group_by("title", maintain_order=True)
    .agg(private=(pl.col("brand") == "Private").mean() > 0.5)
    .sample(fraction=1, shuffle=True, seed=0)
)
train, test = task[:5_000], task[5_000:10_000]
task["private"].value_counts()

# %%
# The models
# ----------
# The rival counts words, pairs of words and character n-grams, as a good engineer would.

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

from vitrina import TitleClassifier

encoder = TitleEncoder.load("shop/encoder")  # from the first example


def ngrams():
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    return make_pipeline(make_union(words, characters), LogisticRegression(C=10, max_iter=1000))


models = {
    "vitrina": lambda: TitleClassifier(encoder),
    "vitrina, vectors alone": lambda: TitleClassifier(encoder, C=1.0, use_words=False),
    "TF-IDF of n-grams": ngrams,
}

# %%
# The learning curves
# -------------------
# Three random subsamples of each size, the same for all models.

import numpy as np
from sklearn.metrics import roc_auc_score

sizes = [50, 100, 500, 2_000]
rng = np.random.default_rng(0)
samples = {size: [rng.choice(len(train), size, replace=False) for _ in range(3)] for size in sizes}
scores = {name: [] for name in models}
for size in sizes:
    for name, make in models.items():
        aucs = []
        for rows in samples[size]:
            model = make().fit(train["title"].to_numpy()[rows], train["private"].to_numpy()[rows])
            probability = model.predict_proba(test["title"].to_numpy())[:, 1]
            aucs.append(roc_auc_score(test["private"], probability))
        scores[name].append(np.mean(aucs))
pl.DataFrame({"labels": sizes, **scores})

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name, values in scores.items():
    axes.plot(sizes, values, marker="o", label=name)
axes.set(xscale="log", xlabel="labels", ylabel="ROC AUC", xticks=sizes, xticklabels=sizes)
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)

# %%
# The words decide with many labels, the vectors with few. ``TitleClassifier`` uses both, and from
# 300 labels on it chooses their weights by cross-validation.
