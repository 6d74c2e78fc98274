"""How a model is named (lip2speech/pretrained/__init__.py)."""

from pathlib import Path

import pytest

from lip2speech import shipped as module
from lip2speech.pretrained import folder_of, shipped


def test_a_shipped_name_wins_over_a_folder_beside_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shipped" / "default").mkdir(parents=True)
    (tmp_path / "default").mkdir()
    monkeypatch.setattr(module, "PRETRAINED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    assert folder_of("default") == tmp_path / "shipped" / "default"
    for name in ("./default", "..", ".", "", "other", "shipped/default"):
        assert folder_of(name) == Path(name)
    assert folder_of(Path("default")) == Path("default")
    assert shipped() == ["default"]
    monkeypatch.setattr(module, "PRETRAINED", tmp_path / "gone")
    assert folder_of("default") == Path("default") and shipped() == []


def test_both_shipped_models_are_there() -> None:
    assert shipped() == ["default", "live"]
