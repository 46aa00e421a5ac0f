"""The features: stored vectors of a catalogue, and vectors computed from a title.

The names of the views hold the start of the encoder's digest. A new encoder gets new views beside
the old ones, so no model is ever given vectors of two encoders.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureView, Field, FileSource, PushSource, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float32, String
from feast.value_type import ValueType
from loaded_encoder import encoder

DATA = Path(os.environ["VITRINA_FEAST_DATA"]).absolute()
DIGEST = encoder().weights.digest
SHORT = DIGEST[:12]
STORED = f"stored_vectors_{SHORT}"
COMPUTED = f"computed_vectors_{SHORT}"
PUSHED = f"pushed_vectors_{SHORT}"

product = Entity(name="product", join_keys=["product_id"], value_type=ValueType.INT64)

# The file of `vitrina embed`, and beside it the upserts of each `vitrina refresh`: together they
# tell which vector a product had at which time.
history = FileSource(
    name=f"vector_files_{SHORT}",
    path=str(DATA / "history"),
    timestamp_field="updated_at",
)

stored_vectors = FeatureView(
    name=STORED,
    entities=[product],
    ttl=timedelta(0),  # a vector is valid until the next one
    schema=[
        Field(name="vector", dtype=Array(Float32)),
        Field(name="encoder", dtype=String),
    ],
    source=PushSource(name=PUSHED, batch_source=history),
    tags={"vitrina_encoder": DIGEST},
)


@on_demand_feature_view(
    name=COMPUTED,
    sources=[RequestSource(name="title_of_request", schema=[Field(name="title", dtype=String)])],
    schema=[Field(name="computed_vector", dtype=Array(Float32))],
    mode="python",
    tags={"vitrina_encoder": DIGEST},
)
def computed_vectors(inputs: dict[str, Any]) -> dict[str, Any]:
    """The vectors of titles that the request brings, in no store yet."""
    from loaded_encoder import encoder

    return {"computed_vector": encoder(DIGEST).encode(inputs["title"]).tolist()}


# `feast serve` builds the function from its source alone, without the names of this module
transformation = computed_vectors.feature_transformation
transformation.udf_string = transformation.udf_string.replace("DIGEST", repr(DIGEST))

OBJECTS = [product, stored_vectors, computed_vectors]
