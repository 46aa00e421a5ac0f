"""
A map of a catalogue
====================

This example draws two thousand titles in a plane. Titles with similar vectors are near each other.
"""

# %%
# The vectors
# -----------

import polars as pl

from vitrina import TitleEncoder
from vitrina.data.sources import completejourney_tables

products = pl.read_parquet(completejourney_tables() / "products.parquet")
title = pl.concat_str("product_type", "package_size", separator=" ", ignore_nulls=True)
table = products.select(title=title, department="department").filter(pl.col("title") != "")
common = table["department"].value_counts(sort=True).head(8)["department"]
table = (
    table.filter(pl.col("department").is_in(common.to_list()))
    .unique("title", maintain_order=True)
    .sample(2_000, seed=0, shuffle=True)
)
encoder = TitleEncoder.load("shop/encoder")  # from the first example
vectors = encoder.transform(table["title"])

# %%
# The plane
# ---------
# t-SNE keeps neighbours together. Distances between far groups mean nothing.

from sklearn.manifold import TSNE

plane = TSNE(init="pca", metric="cosine", random_state=0).fit_transform(vectors)

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(7, 6), layout="constrained")
for number, department in enumerate(common):
    rows = (table["department"] == department).to_numpy()
    axes.scatter(*plane[rows].T, s=8, label=department.lower(), color=f"C{number}")
axes.set_axis_off()
axes.legend(frameon=False, markerscale=2)

# %%
# For a map that can be searched and zoomed, give the vectors to `embedding-atlas
# <https://apple.github.io/embedding-atlas/>`_: ``vitrina embed encoder catalogue.csv --out
# vectors.parquet``, then ``embedding-atlas vectors.parquet --vector vector``.
