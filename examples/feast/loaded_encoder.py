"""The encoder of a process, loaded once however often Feast builds the on-demand view anew."""

from __future__ import annotations

import os
from functools import cache

from vitrina import InputError, TitleEncoder


@cache
def encoder(digest: str | None = None) -> TitleEncoder:
    """Load the encoder of the folder in the environment variable VITRINA_ENCODER.

    Raises
    ------
    InputError
        If it is not the encoder with the digest.
    """
    folder = os.environ["VITRINA_ENCODER"]
    model = TitleEncoder.load(folder)
    if digest not in (None, model.weights.digest):
        raise InputError(
            f"{folder}: is the encoder {model.weights.digest[:12]}, and the view was applied with "
            f"{digest[:12]}; set VITRINA_ENCODER to that one"
        )
    model.threads = 1  # a request has one title or a few
    return model
