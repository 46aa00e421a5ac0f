"""
From baskets to an encoder
==========================

Train a title encoder on real shopping baskets, and look at what it has learnt.
"""

# %%
# The data
# --------
# Two tables: events (a user, a time, a product) and products (a title, a category).

from vitrina import load_public_dataset

shop = load_public_dataset("completejourney")
shop.events.head(3).collect()

# %%
shop.products.head(3).collect()

# %%
# Training
# --------
# A session is a series of purchases of one household without a pause of more than 30 minutes. Two
# products of a session are two views of one intent. 60 steps are a short training; without
# ``max_steps`` it passes over all sessions.

from vitrina import Settings, train_from_tables

encoder = train_from_tables(
    shop.events,
    shop.products,
    "shop/encoder",
    Settings(language=shop.language, max_steps=60),
    gap=shop.gap,
    event_columns=shop.columns,
    force=True,
    quiet=True,
)
encoder.weights.training["minutes"]

# %%
# Vectors
# -------
# Each title gets one vector of length 1. It is the same in any batch, to the last bit. A missing
# title gets zeros.

vectors = encoder.transform(["ORANGE JUICE 64 OZ", "CAT FOOD 16 LB", None])
vectors.shape, vectors.dtype

# %%
# Neighbours
# ----------
# Products that serve one intent are near each other, even if they share no word.

from vitrina import most_similar

queries = ["TORTILLA CHIPS 12 OZ", "BABY DIAPERS 40 CT", "CHARCOAL 15 LB"]
found = most_similar(encoder, shop.products, queries, k=4)
found.select("query", "title", "category", "similarity")

# %%
# The encoder is a folder without code and without pickle. ``TitleEncoder.load("shop/encoder")``
# opens it.

from pathlib import Path

sorted(path.name for path in Path("shop/encoder").iterdir())
