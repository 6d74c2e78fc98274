"""Models from the Hub (lip2speech/hub.py, `lip2speech model pull`): without a network, by a stand-in."""

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
    """`snapshot_download` of a Hub that holds one folder, laid out as its cache: links to blobs."""

    def __init__(self, folder: Path, error: Exception | None = None):
        self.folder, self.error = folder, error
        self.asked: dict[str, Any] = {}

    def __call__(self, **asked: Any) -> str:
        self.asked = asked
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
    """The stand-in in the place of the package."""
    module = types.ModuleType("huggingface_hub")
    module.snapshot_download = hub  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return hub


def command(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["model", "download", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_a_model_is_fetched_checked_and_named_by_its_commit(tmp_path: Path, hub: Hub) -> None:
    assert download_model("ann/codec", tmp_path / "out", revision=COMMIT, snapshot_download=hub) == COMMIT
    assert hub.asked == {"repo_id": "ann/codec", "revision": COMMIT, "allow_patterns": list(FILES)}
    assert checkpoint.load(tmp_path / "out").config["kind"] == "codec"
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())


def test_the_command_says_the_commit(tmp_path: Path, installed: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, said, error = command("ann/codec")
    assert (code, said) == (0, f"codec: ok, ann/codec at --revision {COMMIT}\n"), error
    code, _, error = command("ann/codec")
    assert (code, error.count("\n")) == (5, 1) and "codec: already exists" in error
    assert command("ann/codec", "--overwrite", "--revision", COMMIT)[0] == 0


def test_a_damaged_or_incomplete_model_never_arrives(tmp_path: Path, hub: Hub) -> None:
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


def test_an_old_folder_stays_when_the_new_one_is_damaged(tmp_path: Path, hub: Hub) -> None:
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
def test_a_name_that_is_none_is_refused_before_anything_is_asked(name: str, tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(HubError, match="expected OWNER/NAME"):
        download_model(name, tmp_path / "out", snapshot_download=hub)
    assert not hub.asked


def test_a_folder_of_something_else_is_left_alone_before_anything_is_asked(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(checkpoint.CheckpointError, match="letter.txt"):
        download_model("ann/codec", tmp_path / "home", overwrite=True, snapshot_download=hub)
    assert not hub.asked


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
def test_what_the_hub_refuses_is_one_line(tmp_path: Path, installed: Hub, kind: str, why: str) -> None:
    installed.error = getattr(errors, kind).__new__(getattr(errors, kind))  # their __init__ wants a response
    code, said, error = command("ann/codec", tmp_path / "out", "--revision", "v9")
    assert (code, said, error.count("\n")) == (5, "", 1)
    assert error.startswith("lip2speech: ann/codec: ") and why in error
    assert not (tmp_path / "out").exists()


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, _, error = command("ann/codec", tmp_path / "out")
    assert code == 2 and "install the extra: pip install 'lip2speech[hub]'" in error
