"""
Price and category beside the title
===================================

Titles are seldom all that is known. ``TitleFeatures`` puts them into a scikit-learn pipeline with
other columns. The task: which products are bought by fewer than 20 households?
"""

# %%
# The table
# ---------

import polars as pl

from vitrina import TitleEncoder, load_public_dataset
from vitrina.data.sources import completejourney_tables

sales = (
    pl.scan_parquet(completejourney_tables() / "transactions.parquet")
    .filter(pl.col("quantity") > 0)
    .group_by("product_id")
    .agg(
        price=(pl.col("sales_value") / pl.col("quantity")).median(),
        households=pl.col("household_id").n_unique(),
    )
)
table = (
    load_public_dataset("completejourney")
    .products.join(sales, on="product_id")
    .drop_nulls(["title", "price", "category"])
    .collect()
    .sample(12_000, seed=0, shuffle=True)
)
labels = (table["households"] < 20).to_numpy()
columns = table.select("title", "price", "category")
columns.head(3)

# %%
# The pipelines
# -------------

from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from vitrina import TitleFeatures

encoder = TitleEncoder.load("shop/encoder")  # from the first example
parts = {
    "title": ("title", TitleFeatures(encoder), "title"),
    "price": ("price", StandardScaler(), ["price"]),
    "category": ("category", OneHotEncoder(handle_unknown="ignore"), ["category"]),
}


def pipeline(*names):
    features = ColumnTransformer([parts[name] for name in names])
    return make_pipeline(features, LogisticRegression(C=2, max_iter=1000))


# %%
# The scores
# ----------
# 1,000 labels to learn from, 10,000 to test.

from sklearn.metrics import roc_auc_score

learnt, tested = columns[:1_000], columns[2_000:]
scores = {}
for names in (["title"], ["price", "category"], ["title", "price", "category"]):
    model = pipeline(*names).fit(learnt, labels[:1_000])
    probability = model.predict_proba(tested)[:, 1]
    scores[" + ".join(names)] = round(roc_auc_score(labels[2_000:], probability), 3)
scores
