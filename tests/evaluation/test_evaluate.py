"""The rows of an evaluation, with a tiny untrained model (lip2speech/evaluation/{evaluate,systems}.py)."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.data.utterance import Utterance
from lip2speech.evaluation.config import EvaluationConfig
from lip2speech.evaluation.dataset import EvaluationItem, prepared_items, video_items
from lip2speech.evaluation.evaluate import evaluate
from lip2speech.evaluation.systems import reference_mel
from lip2speech.pipeline import Lip2Speech

MEL = EvaluationConfig(("mel",))


@pytest.fixture(scope="module")
def model(tiny_system: Path) -> Lip2Speech:
    return Lip2Speech.from_pretrained(tiny_system, device="cpu")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder: three test clips and one training clip of one speaker, 20 frames each."""
    folder, rows = tmp_path_factory.mktemp("prepared"), []
    (folder / "clips").mkdir()
    rng = np.random.default_rng(0)
    for i, split in enumerate(["test", "test", "test", "train"]):
        roi = rng.integers(0, 256, (20, 96, 96), np.uint8)
        wav = (rng.standard_normal(20 * 640) * 3000).astype(np.int16)
        save_file({"roi": roi, "wav": wav}, folder / "clips" / f"c{i}.safetensors")
        rows.append(
            {"id": f"c{i}", "split": split, "speaker": "ann", "text": "", "status": "done", "n_frames": 20}
        )
    (folder / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_every_vocoder_has_a_row_between_upper_and_lower_bounds(model: Lip2Speech, prepared: Path) -> None:
    report = evaluate(model, prepared_items(prepared, "test"), EvaluationConfig(("estoi", "mel")))
    rows = {row.name: row for row in report.rows}
    copies = {"copy-synthesis (GT mel -> mel)", "copy-synthesis (GT mel -> griffin-lim)", "codec resynthesis"}
    lower_bounds = {"lower bound: mismatched video", "lower bound: mean mel"}
    assert set(rows) == {"ground truth", *copies, *model.vocoder_names, *lower_bounds}
    assert {row.n for row in rows.values()} == {3}
    assert rows["ground truth"]["estoi"].mean == pytest.approx(1)
    assert rows["ground truth"]["mel_l1"].mean == 0
    copy = rows["copy-synthesis (GT mel -> griffin-lim)"]["estoi"].mean
    assert copy > rows["griffin-lim"]["estoi"].mean
    assert (report.failed, report.n_default_voice) == ({}, 0)


def test_limit_and_vocoder_narrow_the_table(model: Lip2Speech, prepared: Path) -> None:
    done: list[tuple[int, int]] = []
    config = replace(MEL, vocoder=("codes",), limit=1)
    report = evaluate(
        model, prepared_items(prepared, "test"), config, progress=lambda *counts: done.append(counts)
    )
    names = [row.name for row in report.rows]
    assert names == ["ground truth", "codec resynthesis", "codes", "lower bound: mean mel"]
    assert done == [(1, 1)]


def test_the_audio_of_every_system_is_passed_on_with_its_reference(model: Lip2Speech, prepared: Path) -> None:
    passed: dict[str, list[str]] = {}

    def on_clip(id: str, reference: torch.Tensor, audio: dict) -> None:
        assert all(one.wav.shape == reference.shape == (12800,) for one in audio.values())
        passed[id] = list(audio)

    evaluate(model, prepared_items(prepared, "test"), replace(MEL, vocoder=("mel",)), on_clip=on_clip)
    assert passed == {f"c{i}": ["copy-synthesis (GT mel -> mel)", "mel"] for i in range(3)}


def test_video_files_are_also_converted_end_to_end_and_streamed(model: Lip2Speech, clip: Path) -> None:
    item = video_items([Utterance("a", clip, None, "", "drawn", "test")])[0]
    item = replace(item, load_wav=lambda: torch.randn(48000) * 0.1)  # the sample is silent
    report = evaluate(model, [item], replace(MEL, vocoder=("mel",), lookahead_ms=(400,)))
    rows = {row.name: row for row in report.rows}
    assert rows["end-to-end (mel)"]["mel_l1"].mean == pytest.approx(rows["mel"]["mel_l1"].mean, abs=1e-4)
    assert "streaming, 400 ms look-ahead" in rows
    assert report.n_default_voice == 1
    assert "1 clips use the default voice" in report.table()


def test_a_clip_that_fails_is_excluded_and_reported(model: Lip2Speech, prepared: Path) -> None:
    def no_face() -> np.ndarray:
        raise ValueError("no face in 20 of 20 frames")

    bad = EvaluationItem("bad", "test", "ben", "", lambda: torch.zeros(0), no_face)
    report = evaluate(model, [*prepared_items(prepared, "test"), bad], replace(MEL, vocoder=("mel",)))
    assert report.failed == {"bad": "no face in 20 of 20 frames"}
    assert {row.n for row in report.rows} == {3}
    assert "1 clips failed" in report.table()
    with pytest.raises(ValueError, match="all 1 clips failed; the first one: no face"):
        evaluate(model, [bad], MEL)


def test_an_unknown_vocoder_is_refused_before_synthesis(model: Lip2Speech, prepared: Path) -> None:
    with pytest.raises(ValueError, match="'hifi'"):
        evaluate(model, prepared_items(prepared, "test"), replace(MEL, vocoder=("hifi",)))


def test_the_reference_mel_has_the_models_own_settings(model: Lip2Speech) -> None:
    settings = MelConfig(n_fft=640, win_length=640, pad="reflect")
    wav = torch.rand(1, 1, 6400)
    mel = reference_mel(replace(model, mel=settings), wav)
    assert mel.shape == (1, 80, 40)
    assert torch.equal(mel, LogMel(settings)(wav)[..., :40])
    assert torch.equal(reference_mel(model, wav), LogMel()(wav))
