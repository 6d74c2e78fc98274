"""Checkpoint folders from the Hugging Face Hub (extra `hub`), pinned to a commit and verified.

Only the four files of a checkpoint are requested, and nothing in them is executed. The checksums come from
the same place as the files, so they detect damage and incomplete uploads; whom to trust is up to the caller,
and a commit given as `revision` guarantees that the model stays the same.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lip2speech import checkpoint

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
FILES = (*checkpoint.FILES, checkpoint.CHECKSUMS)

SnapshotDownload = Callable[..., str]
"""`huggingface_hub.snapshot_download` or a replacement: returns a folder named after the commit."""


class HubError(ValueError):
    """A repository that cannot be reached, does not exist, or holds no checkpoint."""


def download_model(
    repo: str,
    out: str | Path,
    *,
    revision: str | None = None,
    overwrite: bool = False,
    snapshot_download: SnapshotDownload | None = None,
) -> str:
    """Download a checkpoint folder from the Hub to `out`, verify it, and return its commit.

    Args:
        repo: OWNER/NAME.
        out: the folder to write.
        revision: a commit (40 hex digits) to pin, a tag or a branch; the latest by default.
        overwrite: replace an existing checkpoint folder.
        snapshot_download: replaces `huggingface_hub.snapshot_download`.

    Raises:
        HubError: the Hub cannot be reached, or has no such repository or revision.
        CheckpointError: the folder is incomplete or damaged, or `out` cannot be replaced.
    """
    if not REPO_ID.fullmatch(repo):
        raise HubError(f"{repo}: expected OWNER/NAME of a repository on the Hub.")
    out = Path(out)
    checkpoint.check_replaceable(out, overwrite)
    snapshot = _download_snapshot(repo, revision, snapshot_download)
    commit = snapshot.name
    if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(revision or "") and commit != revision):
        raise HubError(f"{repo}: asked for {revision or 'the latest revision'}, got {commit!r}; try again.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        copy = Path(temporary) / out.name
        copy.mkdir()
        for name in FILES:
            if (snapshot / name).is_file():  # `verify` reports missing files
                shutil.copyfile(snapshot / name, copy / name)
        checkpoint.verify(copy)
        checkpoint.replace_folder(copy, out)
    return commit


def _hub_download() -> SnapshotDownload:
    from huggingface_hub import snapshot_download

    return snapshot_download


def _download_snapshot(repo: str, revision: str | None, snapshot_download: SnapshotDownload | None) -> Path:
    """The folder in the Hub's cache that holds the four files."""
    fetch = snapshot_download or _hub_download()  # outside: a missing extra is not the Hub's error
    try:
        return Path(fetch(repo_id=repo, revision=revision, allow_patterns=list(FILES)))
    except Exception as error:  # the Hub's own errors, its HTTP library's, and the system's
        raise HubError(_reason(repo, revision, error)) from error


def _reason(repo: str, revision: str | None, error: Exception) -> str:
    """One line instead of the Hub's own many."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "GatedRepoError" in kinds:
        return f"{repo}: access is gated; request it on the repository's page, then run `hf auth login`."
    if "RevisionNotFoundError" in kinds:
        return f"{repo}: has no revision {revision}; see its list of commits."
    if "RepositoryNotFoundError" in kinds:
        return f"{repo}: no such repository on the Hub, or it is private; check the name, or `hf auth login`."
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError"}:
        return f"{repo}: the Hub cannot be reached and this model is not in the cache; try again online."
    reason = " ".join(str(error).split())[:200]
    return f"{repo}: could not be downloaded ({type(error).__name__}: {reason})."
