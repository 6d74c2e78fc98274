"""The settings of evaluations (lip2speech/evaluation/config.py) and the files in configs/evaluation/."""

from pathlib import Path

import pytest

from lip2speech.config import ConfigError, load_config
from lip2speech.evaluation.config import EvaluationRunConfig

FOLDER = Path(__file__).parents[2] / "configs" / "evaluation"
FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_bundled_config_names_its_data(path: Path) -> None:
    config = load_config(EvaluationRunConfig, path)
    assert config.root is not None
    assert config.corpus in ("grid", "synth")


def test_a_config_inherits_from_its_bases_in_their_order() -> None:
    config = load_config(EvaluationRunConfig, FOLDER / "live_synth.yaml")
    assert (config.model, config.corpus, config.root) == ("live", "synth", Path("data/synth/test"))
    assert config.lookahead_ms == (0, 80, 160, 200, 400)
    assert config.limit == 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metric: [wer]", "did you mean metrics"),
        ("metrics: [mos]", "unknown metric 'mos'"),
        ("corpus: lrs3", "lrs3"),
        ("lookahead_ms: 80", "lookahead_ms"),
    ],
)
def test_an_invalid_key_or_value_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(EvaluationRunConfig, tmp_path / "run.yaml")
