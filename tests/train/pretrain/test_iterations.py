"""Iterations of pre-training and `train pretrain` (lip2speech/train/pretrain/iterations.py)."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from lip2speech import checkpoint
from lip2speech.cli import app
from lip2speech.config import dump_yaml, from_dict
from lip2speech.data.unit_tokenizers import AVHubertTokenizer, load_unit_tokenizer
from lip2speech.train.kmeans import KMeansConfig, fit_kmeans
from lip2speech.train.pretrain import iterations
from lip2speech.train.pretrain.config import PretrainConfig
from tests.factories import MODEL


def write_config(prepared: Path, folder: Path, **changes: Any) -> str:
    """Write a config of two iterations of two steps."""
    values: dict[str, Any] = {
        "frontend": MODEL["frontend"],
        "train_data": [str(prepared)],
        "iterations": [{"n_units": 5}, {"n_units": 4, "feature_layer": 1}],
        "trainer": {"steps": 2, "batch_size": 2},
        "final_dim": 8,
    }
    path = folder / "tiny.yaml"
    path.write_text(dump_yaml(from_dict(PretrainConfig, values | changes)))
    return str(path)


def call(*words: str) -> Any:
    return CliRunner().invoke(app, ["train", "pretrain", *words])


def test_the_second_iteration_clusters_features_of_the_first_model(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = call(write_config(prepared, tmp_path), "--out", str(out))
    assert done.exit_code == 0, done.output
    first, second = (load_unit_tokenizer(out / str(number) / "units") for number in (1, 2))
    assert (first.n_units, first.rate, second.n_units, second.rate) == (5, 50, 4, 25)
    assert isinstance(second, AVHubertTokenizer)
    assert (second.layer, second.use_audio) == (1, True)
    made = checkpoint.load(out / "1" / "final")
    assert all(torch.equal(t, made.tensors[f"frontend.{k}"]) for k, t in second.model.state_dict().items())
    final = checkpoint.load(out / "2" / "final")
    assert (final.config["kind"], final.config["clusters"]["n_clusters"]) == ("avhubert", 4)
    again = call(write_config(prepared, tmp_path), "--out", str(out))
    assert again.exit_code == 0
    assert "every iteration is finished" in again.output


def test_units_equal_those_of_train_kmeans_and_are_not_fitted_again(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = from_dict(PretrainConfig, {"train_data": [str(prepared)], "iterations": [{"n_units": 5}]})
    iterations.fit_unit_tokenizer(values, tmp_path / "run", 1)
    fit_kmeans(KMeansConfig(train_data=(str(prepared),), n_units=5), tmp_path / "units")
    fingerprints = [
        checkpoint.fingerprint(folder) for folder in (tmp_path / "run/1/units", tmp_path / "units")
    ]
    assert fingerprints[0] == fingerprints[1]
    monkeypatch.setattr(iterations, "fit_kmeans", lambda *_: pytest.fail("they exist"))
    iterations.fit_unit_tokenizer(values, tmp_path / "run", 1)


def test_an_iteration_without_its_predecessor_is_refused_in_one_line(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = call(write_config(prepared, tmp_path), "--out", str(out), "--iteration", "2")
    assert done.exit_code == 2
    assert done.output.strip() == (
        f"lip2speech: iteration 2 clusters features of {out}/1/final, which does not exist; finish "
        "--iteration 1 first."
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--iteration", "3"], "iteration must be 1 .. 2, got 3."),
        (["--iteration", "0"], "iteration must be 1 .. 2, got 0."),
        (["train_data=[nowhere]"], "nowhere is not a folder of prepared clips"),
        (["mask=3"], "mask"),
    ],
)
def test_a_user_error_is_one_line(words: list[str], message: str, prepared: Path, tmp_path: Path) -> None:
    done = call(write_config(prepared, tmp_path), "--out", str(tmp_path / "run"), *words)
    assert done.exit_code == 2
    assert message in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_a_corpus_without_validation_clips_is_refused_before_any_work(prepared: Path, tmp_path: Path) -> None:
    clips, out = tmp_path / "clips", tmp_path / "run"
    shutil.copytree(prepared, clips)
    index = clips / "index.jsonl"
    index.write_text(index.read_text().replace('"valid"', '"train"'))
    done = call(write_config(clips, tmp_path), "--out", str(out))
    assert done.exit_code == 2
    assert f"no clip of split 'valid' in {clips}; give" in done.output
    assert not (out / "1").exists()


def test_an_iteration_can_use_a_given_model_or_unit_tokenizer(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert call(write_config(prepared, tmp_path), "--out", str(out), "--iteration", "1").exit_code == 0
    made = str(out / "1" / "final")
    larger = write_config(prepared, tmp_path, iterations=[{"n_units": 3, "feature_layer": 1, "model": made}])
    assert call(larger, "--out", str(tmp_path / "larger")).exit_code == 0
    assert load_unit_tokenizer(tmp_path / "larger" / "1" / "units").rate == 25
    units = str(out / "1" / "units")
    given = write_config(prepared, tmp_path, iterations=[{"n_units": 5, "unit_tokenizer": units}])
    assert call(given, "--out", str(tmp_path / "given")).exit_code == 0
    assert not (tmp_path / "given" / "1" / "units").exists()


def test_a_dry_run_needs_neither_clips_nor_the_previous_iteration(prepared: Path, tmp_path: Path) -> None:
    words = ["train_data=[no/clips]", "--out", str(tmp_path / "run"), "--iteration", "2", "--dry-run"]
    done = call(write_config(prepared, tmp_path), *words)
    assert done.exit_code == 0, done.output
    assert "2 steps on dummy clips: loss" in done.output
    assert "run/2/units" in done.output
    assert not (tmp_path / "run").exists()
