"""How a model is named (lip2speech/pretrained/__init__.py)."""

from pathlib import Path

import pytest

from lip2speech import pretrained
from lip2speech.checkpoint import CheckpointError
from lip2speech.pretrained import bundled_models, resolve_model_path


def test_a_bundled_name_takes_precedence_over_a_folder_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundled" / "default").mkdir(parents=True)
    (tmp_path / "bundled" / "default" / "config.yaml").write_text("")
    (tmp_path / "default").mkdir()
    monkeypatch.setattr(pretrained, "PRETRAINED_DIR", tmp_path / "bundled")
    monkeypatch.chdir(tmp_path)
    assert bundled_models() == ["default"]
    assert resolve_model_path("default") == tmp_path / "bundled" / "default"
    for name in ("./default", "..", ".", "", "bundled/default"):
        assert resolve_model_path(name) == Path(name)
    assert resolve_model_path(Path("default")) == Path("default")


def test_without_bundled_models_every_name_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "default").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pretrained, "PRETRAINED_DIR", tmp_path / "missing")
    assert bundled_models() == []
    assert resolve_model_path("default") == Path("default")


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        CheckpointError, match=r"nowhere: no such checkpoint folder.* bundled are: default, live\."
    ):
        resolve_model_path("nowhere")


def test_default_and_live_are_bundled() -> None:
    assert bundled_models() == ["default", "live"]
