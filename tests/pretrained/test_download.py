"""Downloads from the Hub without a network (lip2speech/pretrained/download.py, `model download`)."""

import os
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import errors
from typer.testing import CliRunner

from lip2speech import checkpoint
from lip2speech.cli import app
from lip2speech.pretrained.download import FILES, HubError, download_model
from tests.factories import save_codec

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A fake `snapshot_download` of one folder, laid out like the Hub's cache: links to blobs."""

    def __init__(self, folder: Path, error: Exception | None = None):
        self.folder, self.error = folder, error
        self.requested: dict[str, Any] = {}

    def __call__(self, **requested: Any) -> str:
        self.requested = requested
        if self.error is not None:
            raise self.error
        return str(self.folder)


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    blobs = save_codec(tmp_path / "hub" / "blobs")
    snapshot = tmp_path / "hub" / COMMIT
    snapshot.mkdir()
    for name in FILES:
        os.symlink(blobs / name, snapshot / name)
    return Hub(snapshot)


@pytest.fixture
def installed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The fake in place of the package."""
    module = types.ModuleType("huggingface_hub")
    module.snapshot_download = hub  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return hub


def command(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["model", "download", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_a_model_is_downloaded_and_verified_and_its_commit_returned(tmp_path: Path, hub: Hub) -> None:
    assert download_model("ann/codec", tmp_path / "out", revision=COMMIT, snapshot_download=hub) == COMMIT
    assert hub.requested == {"repo_id": "ann/codec", "revision": COMMIT, "allow_patterns": list(FILES)}
    assert checkpoint.load(tmp_path / "out").config["kind"] == "codec"
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())


def test_the_command_prints_the_commit(
    tmp_path: Path, installed: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output, error = command("ann/codec")
    assert (code, output) == (0, f"codec: ok, ann/codec at --revision {COMMIT}\n"), error
    code, _, error = command("ann/codec")
    assert (code, error.count("\n")) == (5, 1)
    assert "codec: already exists" in error
    assert command("ann/codec", "--overwrite", "--revision", COMMIT)[0] == 0


def test_a_damaged_or_incomplete_model_is_not_written(tmp_path: Path, hub: Hub) -> None:
    weights = hub.folder / checkpoint.WEIGHTS
    blob = weights.resolve()
    good = blob.read_bytes()
    blob.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(checkpoint.CheckpointError, match="model.safetensors: differs from its line"):
        download_model("ann/codec", tmp_path / "out", snapshot_download=hub)
    weights.unlink()
    with pytest.raises(checkpoint.CheckpointError, match="model.safetensors is missing"):
        download_model("ann/codec", tmp_path / "out", snapshot_download=hub)
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]


def test_an_existing_folder_is_kept_if_the_download_is_damaged(tmp_path: Path, hub: Hub) -> None:
    out = save_codec(tmp_path / "out")
    before = (out / checkpoint.WEIGHTS).read_bytes()
    (hub.folder / checkpoint.CHECKSUMS).unlink()
    with pytest.raises(checkpoint.CheckpointError, match="SHA256SUMS is missing"):
        download_model("ann/codec", out, overwrite=True, snapshot_download=hub)
    assert (out / checkpoint.WEIGHTS).read_bytes() == before


def test_another_commit_than_the_pinned_one_is_refused(tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(HubError, match=f"asked for {'f' * 40}, got '{COMMIT}'"):
        download_model("ann/codec", tmp_path / "out", revision="f" * 40, snapshot_download=hub)
    hub.folder = Path(shutil.copytree(hub.folder, tmp_path / "main"))
    with pytest.raises(HubError, match="asked for the latest revision, got 'main'"):
        download_model("ann/codec", tmp_path / "out", snapshot_download=hub)


@pytest.mark.parametrize("name", ["codec", "a/b/c", "../codec", "https://x.y/a", "a/b?c", "", "-x/y"])
def test_an_invalid_repository_name_is_refused_before_any_request(
    name: str, tmp_path: Path, hub: Hub
) -> None:
    with pytest.raises(HubError, match="expected OWNER/NAME"):
        download_model(name, tmp_path / "out", snapshot_download=hub)
    assert not hub.requested


def test_a_folder_with_other_files_is_refused_before_any_request(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(checkpoint.CheckpointError, match="letter.txt"):
        download_model("ann/codec", tmp_path / "home", overwrite=True, snapshot_download=hub)
    assert not hub.requested


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("LocalEntryNotFoundError", "the Hub cannot be reached and this model is not in the cache"),
        ("OfflineModeIsEnabled", "the Hub cannot be reached"),
        ("RepositoryNotFoundError", "no such repository on the Hub, or it is private"),
        ("GatedRepoError", "access is gated"),
        ("RevisionNotFoundError", "has no revision v9"),
        ("HFValidationError", "could not be downloaded"),
    ],
)
def test_an_error_of_the_hub_is_one_line(tmp_path: Path, installed: Hub, kind: str, why: str) -> None:
    installed.error = getattr(errors, kind).__new__(getattr(errors, kind))  # their __init__ wants a response
    code, output, error = command("ann/codec", tmp_path / "out", "--revision", "v9")
    assert (code, output, error.count("\n")) == (5, "", 1)
    assert error.startswith("lip2speech: ann/codec: ")
    assert why in error
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_an_error_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, _, error = command("ann/codec", tmp_path / "out")
    assert code == 2
    assert "install the extra: pip install 'lip2speech[hub]'" in error
