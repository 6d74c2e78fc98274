"""Calibrating a model folder (lip2speech/evaluation/calibration/{calibrate,report}.py)."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lip2speech import checkpoint
from lip2speech.confidence.calibration import Calibration
from lip2speech.confidence.features import FEATURES
from lip2speech.evaluation.calibration.calibrate import CalibrationConfig, calibrate, split_sets
from lip2speech.evaluation.calibration.report import CalibrationReport
from lip2speech.pipeline import Lip2Speech
from tests.evaluation.calibration.clips import random_clips
from tests.factories import prepare, save_system, save_system_with_prior


def one_set(folder: Path) -> CalibrationConfig:
    """The test split for both fit and evaluation."""
    return CalibrationConfig([(folder, "test")], [(folder, "test")])


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_fit_and_evaluation_share_no_clip_and_no_speaker(prepared: Path) -> None:
    work = split_sets(CalibrationConfig([(prepared, "test")], [(prepared, "test"), (prepared, "valid")]))
    speakers = {
        for_fit: {item.speaker for fit, name, item in work if fit is for_fit and name == "set:test"}
        for for_fit in (True, False)
    }
    assert speakers == {True: {"ann", "cyd"}, False: {"ben"}}
    assert [for_fit for for_fit, name, _ in work if name == "set:valid"] == [False, False]
    assert len({item.id for _, _, item in work}) == len(work) == 10


def test_a_limit_holds_for_each_set(prepared: Path) -> None:
    work = split_sets(CalibrationConfig([(prepared, "test")], [(prepared, "valid")], limit=2))
    assert [for_fit for for_fit, _, _ in work] == [True, True, False, False]


def test_without_clips_for_the_evaluation_nothing_is_calibrated(prepared: Path) -> None:
    with pytest.raises(ValueError, match="both fit and evaluation need clips"):
        split_sets(CalibrationConfig([(prepared, "test")], []))


def test_a_set_outside_the_grammar_is_refused(prepared: Path, tmp_path: Path) -> None:
    other = prepare(tmp_path / "other", splits="test test", text="hello world")
    with pytest.raises(ValueError, match="no clip of split 'test' with a sentence of the GRID grammar"):
        split_sets(CalibrationConfig([(other, "test")], [(prepared, "test")]))


def test_the_calibration_is_stored_in_the_config_of_the_model_and_nothing_else_changes(
    fake_asr: None, prepared: Path, tmp_path: Path
) -> None:
    folder = save_system(tmp_path / "model")
    before = read_files(folder)
    report = calibrate(folder, one_set(prepared), device="cpu")
    after = read_files(folder)
    assert {name for name in before if before[name] != after[name]} == {"config.yaml", "SHA256SUMS"}
    assert Lip2Speech.from_pretrained(folder, "cpu").config.confidence == report.calibration
    assert checkpoint.load(folder).config["inference"]["default_voice"] == "ann"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "set"]


def test_a_dry_run_gives_the_same_calibration_and_leaves_the_folder_unchanged(
    fake_asr: None, prepared: Path, tmp_path: Path
) -> None:
    folder = save_system(tmp_path / "model")
    before = read_files(folder)
    dry = calibrate(folder, one_set(prepared), device="cpu", write=False)
    assert read_files(folder) == before
    assert dry.calibration == calibrate(folder, one_set(prepared), device="cpu").calibration


def test_a_calibrated_model_can_be_calibrated_again(fake_asr: None, prepared: Path, tmp_path: Path) -> None:
    folder = save_system(tmp_path / "model")
    reports = [calibrate(folder, one_set(prepared), device="cpu") for _ in range(2)]
    assert reports[0].calibration == reports[1].calibration


@pytest.mark.parametrize("lookahead_ms", [None, 120])
def test_a_model_with_a_code_prior_is_calibrated_on_its_code_nll(
    fake_asr: None, prepared: Path, tmp_path: Path, lookahead_ms: int | None
) -> None:
    folder = save_system_with_prior(tmp_path / "model")
    config = replace(one_set(prepared), lookahead_ms=lookahead_ms)
    report = calibrate(folder, config, device="cpu")
    code_nll = torch.cat([clip.features for clip in report.clips])[:, FEATURES.index("code_nll")]
    assert (code_nll > 0).all()
    assert "code_nll " in report.to_markdown()
    assert Lip2Speech.from_pretrained(folder, "cpu").config.confidence == report.calibration


def test_every_clip_counts_once_clean_and_once_degraded(
    fake_asr: None, prepared: Path, tmp_path: Path
) -> None:
    folder, done = save_system(tmp_path / "model"), []
    config = CalibrationConfig([(prepared, "test")], [(prepared, "valid")])
    report = calibrate(
        folder, config, device="cpu", write=False, progress=lambda *counts: done.append(counts)
    )
    assert report.n_fit_clips == 8
    assert done[-1] == (20, 20)
    assert Counter((clip.id, clip.condition) for clip in report.clips) == {
        (id, condition): 1 for id in ("clip8", "clip9") for condition in ("clean", "degraded")
    }


def test_a_streaming_calibration_differs_from_an_offline_one_and_is_named(
    fake_asr: None, prepared: Path, tmp_path: Path
) -> None:
    folder = save_system(tmp_path / "model")
    longer = prepare(tmp_path / "long", splits="test test", frames=90, text="bin blue at f two now")
    offline, streaming = (
        calibrate(folder, replace(one_set(longer), lookahead_ms=ms), device="cpu", write=False)
        for ms in (None, 120)
    )
    assert "clips, offline, clean and degraded" in offline.to_markdown()
    assert "clips, streaming, 120 ms look-ahead, clean and degraded" in streaming.to_markdown()
    for a, b in zip(offline.clips, streaming.clips, strict=True):
        assert a.features.shape == b.features.shape
        assert not torch.allclose(a.features, b.features)


def test_a_lookahead_that_is_no_number_of_frames_is_refused(
    fake_asr: None, prepared: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="multiple of 40 ms"):
        calibrate(save_system(tmp_path / "model"), replace(one_set(prepared), lookahead_ms=50))


def test_the_tables_have_a_line_per_set_and_condition() -> None:
    clean = [*random_clips(5, 0, "a:x"), *random_clips(5, 1, "b:y")]
    degraded = [replace(clip, condition="degraded") for clip in clean]
    lines = CalibrationReport(Calibration(0.0), 1, (*clean, *degraded)).to_markdown().splitlines()
    assert [line.split(" | ")[:3] for line in lines[4:10]] == [
        [f"| {name}", condition, count]
        for condition in ("clean", "degraded")
        for name, count in (("all", "10"), ("a:x", "5"), ("b:y", "5"))
    ]
    assert [line for line in lines if line.endswith(":")][1:] == ["Clean:", "Degraded:"]
