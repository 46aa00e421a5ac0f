"""An encoder as a module of sentence-transformers, which must be installed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from sentence_transformers.base.modules import InputModule

from vitrina.encoder.hub import encoder_folder
from vitrina.encoder.title_encoder import TitleEncoder


class TitleModule(InputModule):
    """A frozen title encoder as the first module of a `SentenceTransformer`.

    The vectors are those of `TitleEncoder.encode`, to the last bit. They are computed on the
    processor. The module has nothing to train.

    Parameters
    ----------
    encoder : TitleEncoder

    Examples
    --------
    >>> from sentence_transformers import SentenceTransformer
    >>> from vitrina import TitleEncoder
    >>> from vitrina.encoder.sentence_module import TitleModule
    >>> module = TitleModule(TitleEncoder.load("encoder"))
    >>> model = SentenceTransformer(modules=[module], device="cpu")
    >>> model.encode(["APPLE SAUCE 24 OZ"]).shape
    (1, 1024)
    """

    save_in_root = True

    def __init__(self, encoder: TitleEncoder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.encoder = encoder
        # it moves with the module, and so tells the device that the vectors must be on
        self.register_buffer("_place", torch.empty(0), persistent=False)

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Keep n titles as they are, after a prompt if there is one.

        Parameters
        ----------
        inputs : sequence of n str
        prompt : str, optional

        Returns
        -------
        dict
            `titles`, a list of n str.
        """
        titles = list(inputs)
        return {"titles": self._prepend_prompt(titles, prompt) if prompt else titles}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Add `sentence_embedding`, a float32 tensor of shape (n, width), to the features."""
        vectors = torch.from_numpy(self.encoder.encode(features["titles"]))
        place = self._place
        assert isinstance(place, torch.Tensor)
        features["sentence_embedding"] = vectors.to(place.device)
        return features

    def get_embedding_dimension(self) -> int:
        """Return the dimensions of a vector."""
        return self.encoder.weights.width

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write the encoder's files into a folder.

        Parameters
        ----------
        output_path : str
            An existing folder, in which sentence-transformers also writes its own files.
        """
        with TemporaryDirectory() as temporary:
            saved = Path(temporary) / "encoder"
            self.encoder.save(saved)
            shutil.copytree(saved, output_path, dirs_exist_ok=True)

    @classmethod
    def load(  # type: ignore[override]
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        **kwargs: Any,
    ) -> TitleModule:
        """Load the module from a folder, or from a repository of the Hugging Face hub.

        Parameters
        ----------
        model_name_or_path : str
        subfolder : str, optional
            Place of the encoder in the folder.
        token, cache_folder, revision, local_files_only : optional
            As `huggingface_hub.snapshot_download` takes them.

        Returns
        -------
        TitleModule

        Raises
        ------
        InputError
            If there is no such folder or repository, or if it holds no undamaged encoder.
        """
        folder = encoder_folder(
            model_name_or_path,
            revision=revision,
            token=token,
            cache_folder=cache_folder,
            local_files_only=local_files_only,
        )
        return cls(TitleEncoder.load(folder / subfolder))
