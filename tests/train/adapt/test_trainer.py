"""Adaptation to one silent person (lip2speech/train/adapt/trainer.py, takes.py) with very small numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lip2speech import checkpoint
from lip2speech.config import from_dict
from lip2speech.data.prompts import write_prompts
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.prediction import Prediction
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder
from lip2speech.pipeline import Lip2Speech
from lip2speech.train.adapt.recordings import Recording, read_takes, split_takes
from lip2speech.train.adapt.trainer import (
    AdaptationTrainer,
    AdaptConfig,
    TargetSynthesizer,
    adapt,
    best_path,
    ceiling,
    check_units,
    measure,
    pairs,
)
from tests.data.test_unit_tokenizers import mfcc_teacher
from tests.factories import buzz, make_model, save_system


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, own = tmp_path_factory.mktemp("teacher") / "units", mfcc_teacher(8)
    tensors = {"centroids": own.centroids, "mean": own.mean, "std": own.std}
    checkpoint.save(folder, {"kind": "kmeans-mfcc"}, tensors, "")
    return str(folder)


def config(**changes: Any) -> AdaptConfig:
    numbers = {"steps": 20, "batch_size": 2, "n_crops": 2, "optimizer": {"lr": 5e-2, "warmup_steps": 1}}
    return from_dict(AdaptConfig, numbers | changes)


def take(i: int, frames: int = 16) -> Recording:
    """Noise for lips, and a sound that is shorter than they are."""
    roi = torch.randint(
        256, (frames + i, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(i)
    )
    return Recording(f"{i:03d}", f"word {i}", roi, buzz(frames - 2, 110.0 + 20 * i)[: -7 * i or None])


def test_the_loss_falls_and_the_trunk_rests(units: str) -> None:
    work = AdaptationTrainer(
        make_model(),
        Transform(),
        [take(0), take(1), take(2)],
        config(unit_tokenizer=units),
        LTASSpeakerEncoder(),
    )
    kept = {name: tensor.clone() for name, tensor in work.model.frontend.resnet.state_dict().items()}

    @torch.no_grad()
    def loss() -> float:
        work.model.eval()
        return float(work.loss([0, 1, 2], np.random.default_rng(0)))

    before = loss()
    for step in range(20):
        work.training_step(step)
    assert loss() < 0.98 * before
    assert all(torch.equal(t, kept[name]) for name, t in work.model.frontend.resnet.state_dict().items())


def test_the_adapted_folder_loads_like_any_other(units: str, tmp_path: Path) -> None:
    base = save_system(tmp_path / "base")
    done: list[float] = []
    given = checkpoint.load(base)
    given.config["inference"]["confidence"] = {"bias": 1.0}
    size, losses = adapt(
        given, [take(0)], config(unit_tokenizer=units, steps=3), tmp_path / "own", progress=done.append
    )
    assert len(losses) == 3 and size > 0 and done[-1] == 1.0
    old, new = checkpoint.load(base), checkpoint.load(tmp_path / "own")
    assert "Adapted to one silent person" in new.card
    for loaded in (old, new):
        assert (
            loaded.config["inference"].pop("confidence", None) is None
        )  # that of the base is not the new one's
    assert old.config == new.config
    moved = {n for n, t in old.tensors.items() if not torch.allclose(t, new.tensors[n], 1e-3, 1e-3)}
    assert moved and all("proj" in n or "fc" in n or "heads.inp" in n for n in moved)
    Lip2Speech.from_pretrained(tmp_path / "own", "cpu")


def test_figures_are_shares_and_know_a_listener(units: str, tmp_path: Path) -> None:
    speech, takes = Lip2Speech.from_pretrained(save_system(tmp_path / "base"), "cpu"), [take(0), take(1)]
    heard = measure(speech, takes, config(unit_tokenizer=units), lambda wav, text: int(text == "word 1"))
    assert heard.units is not None and 0 <= heard.units <= 1 and heard.words == 0.25
    deaf = measure(speech, takes, config(), None)
    assert deaf.units is None and deaf.words is None
    assert ceiling(takes, config(), lambda wav, text: 1) == 0.5


def test_the_best_path_of_a_perfect_slow_prediction_is_its_own(units: str) -> None:
    target = TargetSynthesizer(config(unit_tokenizer=units), LTASSpeakerEncoder())(take(0))[0]
    slow = target.mel.repeat_interleave(2, 0)  # (2N, 160)
    prediction = Prediction(mel=slow.reshape(-1, 80).T[None])
    assert torch.allclose(pairs(prediction.require("mel"))[0], slow)
    path = best_path(make_model(), prediction, target, config())
    assert (path - torch.arange(len(path)) // 2).abs().max() <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_target_modules": ["nonsense"]}, "no linear layer"),
        ({"n_tts_voices": 0}, "n_tts_voices must be 1 or more, got 0"),
    ],
)
def test_a_wrong_recipe_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptationTrainer(make_model(), Transform(), [take(0)], config(**changes), LTASSpeakerEncoder())


def test_a_teacher_of_other_units_and_no_video_are_refused(units: str) -> None:
    other = make_model()
    with pytest.raises(ValueError, match="no video to learn from"):
        AdaptationTrainer(other, Transform(), [], config(), LTASSpeakerEncoder())
    reader = TargetSynthesizer(config(unit_tokenizer=units), LTASSpeakerEncoder())
    assert reader.units is not None
    reader.units.centroids = reader.units.centroids[:5]
    with pytest.raises(ValueError, match="the model has 8 units, the teacher 5"):
        check_units(other, reader.units)


def test_takes_pair_videos_with_prompts_and_failures_are_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_prompts(tmp_path / "me", ["Bin  blue", "", "three", "four"])
    assert [p.name for p in paths] == ["001.txt", "002.txt", "003.txt", "004.txt"]
    for name in ("001.mp4", "002.mp4", "003.webm", "stray.mp4"):
        (tmp_path / "me" / name).write_bytes(b"no video")
    roi = take(0).roi.numpy()

    def load(video: Path) -> tuple:
        return roi, type("Report", (), {"face_detection_rate": 0.5 if video.stem == "003" else 1.0})

    monkeypatch.setattr("lip2speech.video.load_roi", load)
    takes, failures = read_takes(tmp_path / "me")
    assert [(t.id, t.text, t.wav) for t in takes] == [("001", "bin blue", None)]
    assert "002.txt is empty" in failures[0] and "a face in 50% of the frames" in failures[1]


def test_folders_that_cannot_be_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ValueError, match="is not empty; give a new folder"):
        write_prompts(tmp_path, ["a"])
    with pytest.raises(ValueError, match="no video lies beside its prompt"):
        read_takes(tmp_path)
    with pytest.raises(ValueError, match="no such folder; make one with `lip2speech adapt prompts`"):
        read_takes(tmp_path / "none")


def test_no_held_out_sentence_is_learned() -> None:
    takes = [Recording(str(i), text, torch.zeros(1)) for i, text in enumerate(["a", "b", "c", "a", "d"])]
    known, tested = split_takes(takes, 2)
    assert [t.id for t in known] == ["1", "2"] and [t.text for t in tested] == ["a", "d"]
    with pytest.raises(ValueError, match="cannot hold out 5 of 5 videos"):
        split_takes(takes, 5)
