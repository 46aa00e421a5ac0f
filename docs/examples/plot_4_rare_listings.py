"""
Finding rare listings
=====================

Few listings are of interest, and none is labelled. Search for three of them, then let the default
strategy choose what to label next, and compare it with random labels.
"""

# %%
# The catalogue
# -------------
# We look for products for babies, one title in fifty or fewer. The answers come from the
# supermarket's own categories instead of a person.

import polars as pl

from vitrina import TitleEncoder, load_public_dataset

products = load_public_dataset("completejourney").products.collect().drop_nulls()
catalogue = (
    products.group_by("title", maintain_order=True)
    .agg(baby=pl.col("category").str.contains("BABY|DIAPER|INFANT").mean() > 0.5)
    .sample(6_000, seed=0, shuffle=True)
)
answers = dict(catalogue.iter_rows())
catalogue["baby"].sum(), len(catalogue)

# %%
# Labelling
# ---------
# ``vitrina label`` opens a page that does the same with two keys.

from pathlib import Path

from sklearn.metrics import average_precision_score

from vitrina import TitleClassifier
from vitrina.labelling.project import LabellingProject

encoder = TitleEncoder.load("shop/encoder")  # from the first example
Path("shop/labels.csv").unlink(missing_ok=True)
project = LabellingProject(encoder, catalogue.select("title"), "shop/labels.csv")


def answer(title, strategy):
    project.label(title, "yes" if answers[title] else "no", strategy)


for row in project.search("baby", n=3).iter_rows(named=True):
    answer(row["title"], row["strategy"])
for _ in range(120):
    title, strategy = project.next_titles(1).select("title", "strategy").row(0)
    answer(title, strategy)

labelled = pl.read_csv("shop/labels.csv")
labelled.group_by("strategy", "label").len().sort("strategy", "label")

# %%
# The result
# ----------
# Average precision over the titles that are not labelled, with as many labels chosen at random.

random = catalogue.sample(len(labelled), seed=1)
sets = {
    "default strategy": (labelled["title"], labelled["label"] == "yes"),
    "random": (random["title"], random["baby"]),
}
others = catalogue.filter(~pl.col("title").is_in([*labelled["title"], *random["title"]]))
results = {}
for name, (titles, labels) in sets.items():
    model = TitleClassifier(encoder, C=2.0).fit(titles, labels)
    probability = model.predict_proba(others["title"])[:, 1]
    results[name] = round(average_precision_score(others["baby"], probability), 3)
results

# %%
# The most probable titles that nobody has labelled:

model = TitleClassifier(encoder, C=2.0).fit(*sets["default strategy"])
others.with_columns(probability=model.predict_proba(others["title"])[:, 1]).top_k(
    8, by="probability"
)
