"""Links in the cache of the Hugging Face hub, the only ones that are followed."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

_HASH = re.compile(r"[0-9a-f]{40,64}")


def without_hub_link(folder: Path, name: str) -> Path:
    """Return the file itself if a folder of the hub's cache has a link in its place.

    For each repository, huggingface_hub keeps a file once, as ``blobs/HASH``, and fills the folder
    of each revision, ``snapshots/COMMIT``, with links to these files. Such a link can't lead out of
    the repository's part of the cache. Any other link is returned as it is, and refused by its
    reader.

    Parameters
    ----------
    folder : Path
    name : str
        Relative path of a file in the folder.

    Returns
    -------
    Path
        The file, which may be missing or a link again.
    """
    path = folder / name
    try:
        link = path.readlink()
        place = path.parent.resolve()
        content = Path(os.path.normpath(place / link))
        blobs = content.parent
        is_cached = blobs.name == "blobs" and blobs.with_name("snapshots") in place.parents
        if is_cached and _HASH.fullmatch(content.name) and stat.S_ISDIR(os.lstat(blobs).st_mode):
            return content
    except (OSError, ValueError):  # it is no link, or can't be read
        pass
    return path
