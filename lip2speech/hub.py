"""Checkpoint folders from the Hugging Face Hub (extra `hub`): of one commit, and only once their sums fit.

Four files are asked for and no others; nothing of them is run. The sums come from where the files come from:
they find damage and half an upload. Whom to trust is the caller's choice; a commit given as `revision` makes
sure that it stays the same model.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lip2speech import checkpoint

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
FILES = (*checkpoint.FILES, checkpoint.SUMS)

Download = Callable[..., str]
"""`huggingface_hub.snapshot_download`, or one like it: the folder of what was asked for, named by commit."""


class HubError(ValueError):
    """A repository that cannot be reached, is not there, or holds no checkpoint of ours."""


def pull(
    repo: str,
    out: str | Path,
    *,
    revision: str | None = None,
    overwrite: bool = False,
    download: Download | None = None,
) -> str:
    """Fetch a checkpoint folder from the Hub, check its sums, and put it at `out`; the commit it is of.

    Args:
        repo: OWNER/NAME.
        revision: a commit (40 hex digits), which pins it, or a tag or branch; the newest by default.
        download: stands in for `huggingface_hub.snapshot_download`.
    Raises:
        HubError: not reachable, no such repository or revision. CheckpointError: not whole, or `out` taken.
    """
    if not NAME.fullmatch(repo):
        raise HubError(f"{repo}: expected OWNER/NAME of a repository on the Hub.")
    out = Path(out)
    checkpoint.check_replaceable(out, overwrite)
    fetched = _fetch(repo, revision, download)
    commit = fetched.name
    if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(revision or "") and commit != revision):
        raise HubError(f"{repo}: asked for {revision or 'the newest revision'}, got {commit!r}; try again.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as place:
        copy = Path(place) / out.name
        copy.mkdir()
        for name in FILES:
            if (fetched / name).is_file():  # what is not there, `verify` names
                shutil.copyfile(fetched / name, copy / name)
        checkpoint.verify(copy)
        checkpoint.replace_folder(copy, out)
    return commit


def _fetch(repo: str, revision: str | None, download: Download | None) -> Path:
    """The folder in the Hub's cache that holds our four files."""
    if download is None:
        from huggingface_hub import snapshot_download

        download = snapshot_download
    try:
        return Path(download(repo_id=repo, revision=revision, allow_patterns=list(FILES)))
    except Exception as error:  # of its own kinds, its network library's, and the system's
        raise HubError(_reason(repo, revision, error)) from error


def _reason(repo: str, revision: str | None, error: Exception) -> str:
    """One line for what the Hub's own errors say in many."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "GatedRepoError" in kinds:
        return f"{repo}: its owner must let you in first; ask on its page, then `hf auth login`."
    if "RevisionNotFoundError" in kinds:
        return f"{repo}: has no revision {revision}; look at its list of commits."
    if "RepositoryNotFoundError" in kinds:
        return f"{repo}: no such repository on the Hub, or it is private; check the name, or `hf auth login`."
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError"}:
        return f"{repo}: the Hub cannot be reached and this model was never fetched here; try again online."
    reason = " ".join(str(error).split())[:200]
    return f"{repo}: could not be fetched ({type(error).__name__}: {reason})."
