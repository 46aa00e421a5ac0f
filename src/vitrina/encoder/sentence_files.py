"""The files that make an encoder's folder a sentence-transformers folder too.

They hold no code, and they are the same for every encoder. The seal of the folder covers them.
"""

from __future__ import annotations

import json
from typing import Any

from vitrina.errors import InputError
from vitrina.sealed import SealedFolder

MODULE = "vitrina.encoder.sentence_module.TitleModule"
"""The class that sentence-transformers loads. Saved folders name it, so it must not move."""

# sentence-transformers writes its files with these keys in this order, and with two spaces: what
# its `save_pretrained` writes later has the same bytes, and the seal stays right.
_MODULES = [{"idx": 0, "name": "0", "path": "", "type": MODULE}]
_CONFIG: dict[str, Any] = {
    "default_prompt_name": None,
    "model_type": "SentenceTransformer",
    "prompts": {},
    "similarity_fn_name": "cosine",
}

SENTENCE_FILES: dict[str, Any] = {
    "config_sentence_transformers.json": _CONFIG,
    "modules.json": _MODULES,
}
"""Content of each file by its name."""


def sentence_files() -> dict[str, bytes]:
    """Return the bytes of each file by its name."""
    files = {}
    for name, content in SENTENCE_FILES.items():
        files[name] = json.dumps(content, indent=2).encode("ascii")
    return files


def check_sentence_files(folder: SealedFolder) -> None:
    """Check that the files say what vitrina writes, where a folder has them.

    A stranger's file could name a class that does harm, or a prompt that changes the vectors.

    Parameters
    ----------
    folder : SealedFolder
        The folder of an encoder. Earlier versions saved encoders without these files.

    Raises
    ------
    InputError
        If a file says anything else.
    """
    for name, expected in sentence_files().items():
        if name in folder and folder.read(name) != expected:
            raise InputError(
                f"{folder.folder / name}: is not the file that vitrina writes; save the encoder "
                "again"
            )
