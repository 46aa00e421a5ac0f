"""Encoders in repositories of the Hugging Face hub: where they are kept, and how they get there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from vitrina.encoder.model_card import front_matter
from vitrina.encoder.weights import ENCODER, EncoderWeights
from vitrina.errors import InputError, MissingExtraError, shown
from vitrina.sealed import MANIFEST, NOT_SEALED

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)

_FILES = sorted([*ENCODER.files, MANIFEST, NOT_SEALED])
"""What is loaded from a repository. Nothing else in it is even downloaded."""


def encoder_folder(
    path_or_repo: str | Path,
    *,
    revision: str | None = None,
    token: bool | str | None = None,
    cache_folder: str | None = None,
    local_files_only: bool = False,
) -> Path:
    """Return a folder that exists, or that of a repository in the hub's cache.

    What the cache lacks is downloaded first. `vitrina.sealed` checks the files when they are
    loaded.

    Parameters
    ----------
    path_or_repo : str or Path
        A folder, or the name of a repository such as "shop/titles". A folder of that name comes
        first.
    revision : str, optional
        Branch, tag or commit of the repository; by default, its main branch.
    token, cache_folder, local_files_only : optional
        As `huggingface_hub.snapshot_download` takes them.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If it is neither a folder nor the name of a repository, if a revision of a folder is wanted,
        or if the repository or its revision can't be had or holds no encoder.
    MissingExtraError
        If huggingface-hub is not installed.
    """
    folder, name = Path(path_or_repo), str(path_or_repo)
    if folder.exists():
        if revision is not None:
            raise InputError(f"`revision` is '{shown(revision, 60)}', but {folder} is a folder")
        return folder
    if not _REPOSITORY.fullmatch(name):
        raise InputError(
            f"{folder}: no such folder; give the path of a saved {ENCODER.name}, or the name of a "
            "repository, such as shop/titles"
        )
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise MissingExtraError("huggingface-hub", "hub") from error
    with _one_line(name, revision):
        found = snapshot_download(
            name,
            revision=revision,
            allow_patterns=_FILES,
            token=token,
            cache_dir=cache_folder,
            local_files_only=local_files_only,
        )
    if not (Path(found) / MANIFEST).exists():
        raise InputError(
            f"{name}: the repository has no {MANIFEST}, so it holds no {ENCODER.name}; choose "
            "another repository or `revision`"
        )
    return Path(found)


def push_encoder(
    weights: EncoderWeights,
    repo: str,
    *,
    private: bool | None,
    license: str | None,
    message: str,
) -> str:
    """Upload an encoder to a repository of the hub, which is created if needed.

    See `vitrina.TitleEncoder.push_to_hub`.

    Returns
    -------
    str
        The commit that holds the encoder.
    """
    if not _REPOSITORY.fullmatch(repo):
        raise InputError(
            f"`repo` is '{shown(repo, 60)}'; give the name of a repository, such as shop/titles"
        )
    head = front_matter(weights.tokenizer.normalizer.language, license)
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError as error:
        raise MissingExtraError("huggingface-hub", "hub") from error
    api = HfApi()
    with TemporaryDirectory(prefix="vitrina-") as temporary, _one_line(repo, None):
        folder = Path(temporary) / "encoder"
        weights.save(folder)
        # the card is not sealed
        (folder / NOT_SEALED).write_text(head + weights.model_card(), "utf-8")
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            commit_message=message,
            # files of an earlier encoder that this one doesn't have
            delete_patterns=_FILES,
        )
    return str(commit.oid)


@contextmanager
def _one_line(repo: str, revision: str | None) -> Iterator[None]:
    """Turn the errors of huggingface_hub into an InputError of one line."""
    from httpx import HTTPError
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = repo if revision is None else f"{repo} at {shown(revision, 60)}"
    try:
        yield
    except InputError:
        raise
    except GatedRepoError as error:
        raise InputError(
            f"{where}: the hub gives this repository only to users whom its owner has accepted; "
            "ask there for access, and log in with: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{where}: there is no such folder here, and no such repository on the hub that you "
            "may see; check the name, or log in with: hf auth login"
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"{where}: the repository has no such revision; set `revision` to a branch, a tag or a "
            "commit"
        ) from error
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"{where}: there is no such folder here, the hub's cache doesn't hold all of that "
            "repository, and the hub can't be reached; check the name and the connection"
        ) from error
    except (HTTPError, OSError, ValueError) as error:
        # a name or a licence that the hub doesn't allow, or a failure of the connection
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{where}: the hub refused this ({shown(reason)})") from error
