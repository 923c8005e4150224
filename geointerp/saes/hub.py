"""Published sparse autoencoders: which there are, and their files from the Hugging Face Hub."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from geointerp.errors import InputError

# sae-lens's loaders of weights that are pickles
PICKLED = {"connor_rob_hook_z", "deepseek_r1", "dictionary_learning_1", "goodfire", "qwen_scope"}
# and of those that are folders as `fetch` downloads them
PLAIN = {None, "sae_lens", "gemma_2"}


def listed(source: str, sae_id: str) -> tuple[str, str] | None:
    """Under which release and id sae-lens lists an autoencoder.

    Parameters
    ----------
    source : str
        A release of sae-lens, or a repository, ``"owner/name"``.
    sae_id : str
        An id in the release, or a folder of the repository.

    Returns
    -------
    tuple of str, or None
        None for one in a repository that sae-lens does not list.

    Raises
    ------
    InputError
        A release or an id that there is not.
    """
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    directory = get_pretrained_saes_directory()
    if source in directory:
        if sae_id not in directory[source].saes_map:
            near = _some(sae_id, directory[source].saes_map)
            raise InputError(f"{source}: this release has no {sae_id!r}; {near}.")
        return source, sae_id
    for release, entry in directory.items():
        if entry.repo_id == source:
            for key, folder in entry.saes_map.items():
                if folder == sae_id.strip("/"):
                    return release, key
    if source.count("/") != 1:
        raise InputError(
            f"{source}: neither a release of sae-lens nor a repository, owner/name; of releases "
            f"{_some(source, directory)}."
        )
    return None


def check(release: str, revision: str | None) -> None:
    """Refuse a release whose weights are pickles, and another revision where none can be had.

    Raises
    ------
    InputError
    """
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    kind = get_pretrained_saes_directory()[release].conversion_func
    if kind in PICKLED:
        raise InputError(
            f"{release}: its weights are pickles, which are not loaded; "
            "save it with sae-lens's save_model and load that folder."
        )
    if revision is not None and kind not in PLAIN:
        raise InputError(
            f"{release}: sae-lens reads it at its main revision only; leave the revision out."
        )


def fetch(
    repository: str, folder: str, layouts: Iterable[tuple[str, ...]], revision: str | None = None
) -> Path:
    """Where the files of an autoencoder are, downloaded unless the cache has them.

    Parameters
    ----------
    repository : str
        ``"owner/name"``.
    folder : str
        Within the repository; ``"."`` is its root.
    layouts : iterable of tuple of str
        The files that an autoencoder may consist of; the first layout that is there is taken.
    revision : str, optional
        Branch, tag or commit.

    Returns
    -------
    Path

    Raises
    ------
    huggingface_hub.errors.EntryNotFoundError
        None of the layouts is there, or the Hub is not.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    failed: Exception | None = None
    for names in layouts:
        files = [str(PurePosixPath(folder.strip("/"), name)) for name in names]
        # a Hub that cannot be reached is not asked again: the cache may have the other layout
        local = isinstance(failed, LocalEntryNotFoundError)
        try:
            paths = [
                hf_hub_download(repository, file, revision=revision, local_files_only=local)
                for file in files
            ]
            return Path(paths[0]).parent
        except EntryNotFoundError as error:
            failed = error
    assert failed is not None
    raise failed


def reason(error: Exception) -> str | None:
    """Why the Hub did not give an autoencoder; None for an error that is not of the Hub."""
    import requests
    from huggingface_hub import errors

    unreached = (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)
    if isinstance(error, (*unreached, requests.ConnectionError, requests.Timeout)):
        return "it is not in the cache, and the Hub cannot be reached"
    if isinstance(error, errors.GatedRepoError):
        return "its repository asks for an agreement; accept it on the Hub and log in"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the Hub has no such repository, or it is private"
    if isinstance(error, errors.RevisionNotFoundError):
        return "its repository has no such revision"
    if isinstance(error, errors.EntryNotFoundError):
        return "its repository has no sparse autoencoder there"
    if isinstance(error, errors.HTTPError):
        return f"the download failed: {said(error)}"
    return None


def said(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _some(wanted: str, there: Mapping[str, object]) -> str:
    """The names that there are, of many those that are nearest."""
    nearest = [name for name in there if wanted in name][:5]
    nearest = nearest or difflib.get_close_matches(wanted, there, n=5, cutoff=0)
    more = f" and {len(there) - len(nearest)} more" if len(there) > len(nearest) else ""
    return f"there are {', '.join(nearest)}{more}"
