"""The table of all routes, from a tiny model that speaks noise."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.evaluation.dataset import EvaluationItem, prepared_items, video_items
from lip2speech.evaluation.evaluate import evaluate, true_mel
from lip2speech.pipeline import Lip2Speech

QUICK = ("estoi", "mel")


@pytest.fixture(scope="module")
def system(tiny_system: Path) -> Lip2Speech:
    return Lip2Speech.from_pretrained(tiny_system, device="cpu")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder: three test clips and one for training of one speaker, each of 20 frames."""
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


def test_every_route_its_ceiling_and_the_floors_have_a_row(system: Lip2Speech, prepared: Path) -> None:
    report = evaluate(system, prepared_items(prepared, "test"), measure=QUICK)
    rows = {row.name: row for row in report.rows}
    wanted = {"true sound", "true codes, codes", "true mel, mel", "true mel, griffin-lim"}
    assert wanted | {*system.vocoder_names, "floor: another clip", "floor: average mel"} == set(rows)
    assert {row.n for row in rows.values()} == {3}
    assert rows["true sound"]["estoi"].mean == pytest.approx(1) and rows["true sound"]["mel_l1"].mean == 0
    assert rows["true mel, griffin-lim"]["estoi"].mean > rows["griffin-lim"]["estoi"].mean
    assert (report.failed, report.default_voice) == ({}, 0)


def test_the_limit_and_the_routes_narrow_the_table(system: Lip2Speech, prepared: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = evaluate(
        system,
        prepared_items(prepared, "test"),
        routes=["codes"],
        limit=1,
        measure=("mel",),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [r.name for r in report.rows] == ["true sound", "true codes, codes", "codes", "floor: average mel"]
    assert seen == [(1, 1)]


def test_a_video_file_also_goes_the_whole_path(system: Lip2Speech, clip: Path) -> None:
    from lip2speech.data.utterance import Utterance

    item = video_items([Utterance("a", clip, None, "", "drawn", "test")])[0]
    item = replace(item, wav=lambda: torch.randn(48000) * 0.1)  # the sample is silent
    report = evaluate(system, [item], routes=["mel"], measure=("mel",))
    rows = {row.name: row for row in report.rows}
    assert rows["whole path, mel"]["mel_l1"].mean == pytest.approx(rows["mel"]["mel_l1"].mean, abs=1e-4)
    assert report.default_voice == 1 and "1 clips have no second utterance" in report.table()


def test_a_clip_without_a_face_is_counted_and_stops_nothing(system: Lip2Speech, prepared: Path) -> None:
    def no_face() -> np.ndarray:
        raise ValueError("no face in 20 of 20 frames")

    items = [
        *prepared_items(prepared, "test"),
        EvaluationItem("bad", "test", "ben", "", torch.zeros, no_face),
    ]
    report = evaluate(system, items, routes=["mel"], measure=("mel",))
    assert report.failed == {"bad": "no face in 20 of 20 frames"}
    assert {row.n for row in report.rows} == {3}
    assert "1 clips gave no speech" in report.table()
    with pytest.raises(ValueError, match="none of the 1 clips gave speech; the first: no face"):
        evaluate(system, items[-1:], measure=("mel",))


def test_an_unknown_route_stops_before_anything_is_spoken(system: Lip2Speech, prepared: Path) -> None:
    with pytest.raises(ValueError, match="no route is called 'hifi'"):
        evaluate(system, prepared_items(prepared, "test"), routes=["hifi"])


def test_the_true_mel_is_of_the_models_own_recipe(system: Lip2Speech) -> None:
    recipe = MelConfig(n_fft=640, win_length=640, pad="reflect")
    wav = torch.rand(1, 1, 6400)
    found = true_mel(replace(system, mel=recipe), wav)
    assert found.shape == (1, 80, 40)
    assert torch.equal(found, LogMel(recipe)(wav)[..., :40])
    assert torch.equal(true_mel(system, wav), LogMel()(wav))
