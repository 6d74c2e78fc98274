"""Multi-task fine-tuning (lip2speech/train/finetune/task.py) with very small numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.checkpoint import CheckpointError
from lip2speech.codecs import code_fingerprint, load_codec
from lip2speech.config import from_dict, to_dict
from lip2speech.data.loader import Batch
from lip2speech.importers.hubert import import_hubert
from lip2speech.models.lip2speech import LipModel, ModelConfig
from lip2speech.models.prediction import Prediction
from lip2speech.train.core.pretrained import init_from_checkpoint
from lip2speech.train.core.trainer import Trainer
from lip2speech.train.finetune.task import FinetuneConfig, FinetuneTask, on_clock
from tests.data.test_unit_tokenizers import mfcc_teacher
from tests.factories import MODEL, make_model, prepare, save_codec, save_speaker_encoder, save_sacodec, tiny_speaker_encoder
from tests.models.hubert_golden import CHECKPOINT, KMEANS


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a unit teacher with 8 units and of a codec."""
    folder, own = tmp_path_factory.mktemp("teachers"), mfcc_teacher(8)
    tensors = {"centroids": own.centroids, "mean": own.mean, "std": own.std}
    checkpoint.save(folder / "units", {"kind": "kmeans-mfcc"}, tensors, "")
    return {"unit_tokenizer": str(folder / "units"), "codec_path": str(save_codec(folder / "codec"))}


def config(prepared: Path, teachers: dict[str, str], **changes: Any) -> FinetuneConfig:
    numbers = {
        "model": MODEL,
        "train_data": [str(prepared)],
        "trainer": {"steps": 4, "batch_size": 2, "save_every": 2, "valid_every": 4},
        "optimizer": {"lr": 3e-3, "warmup_steps": 1},
    }
    return from_dict(FinetuneConfig, numbers | teachers | changes)


@pytest.fixture(scope="module")
def task(prepared: Path, teachers: dict[str, str]) -> FinetuneTask:
    """A task that no test trains."""
    return FinetuneTask(config(prepared, teachers))


def batch_of(mel: Tensor, lengths: list[int], **targets: Tensor) -> Batch:
    frames = mel.shape[-1] // 4
    padding = torch.arange(frames)[None] >= torch.tensor(lengths)[:, None]
    video, speaker = torch.zeros(len(mel), 1, frames, 1, 1), torch.zeros(len(mel), 163)
    return Batch(video, padding, mel, targets.get("units"), targets.get("codes"), speaker)


def test_a_run_trains_resumes_to_the_same_bits_and_exports(
    prepared: Path, teachers: dict[str, str], tmp_path: Path
) -> None:
    numbers = config(prepared, teachers)
    Trainer(numbers.trainer, tmp_path / "whole", quiet=True).fit(FinetuneTask(numbers))
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "step-00000002.pt").rename(tmp_path / "half" / "step-00000002.pt")
    Trainer(numbers.trainer, tmp_path / "half", quiet=True).fit(FinetuneTask(numbers))
    whole, half = (checkpoint.load(tmp_path / name / "final") for name in ("whole", "half"))
    assert all(torch.equal(tensor, half.tensors[name]) for name, tensor in whole.tensors.items())
    assert whole.config["kind"] == "lip-model"
    assert whole.config["codec"] == code_fingerprint(load_codec(teachers["codec_path"]))
    model = LipModel(from_dict(ModelConfig, whole.config["model"]))
    assert init_from_checkpoint(model, tmp_path / "whole" / "final")
    assert not torch.equal(model.heads.mel.weight, make_model().heads.mel.weight)


def test_the_loss_falls(prepared: Path, teachers: dict[str, str]) -> None:
    numbers = config(prepared, teachers, augment={"speed": 0.0, "time_mask": 0})
    task = FinetuneTask(numbers)
    losses = [task.training_step(step)["loss"] for step in range(10)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


@pytest.mark.parametrize("delayed", [False, True])
def test_heads_learn_the_codes_of_books_of_different_sizes(
    prepared: Path, teachers: dict[str, str], tmp_path: Path, delayed: bool
) -> None:
    codec = {"codec_path": str(save_sacodec(tmp_path / "sa"))}
    heads = MODEL["heads"] | {"codebook_size": [6, 16], "codebook_pattern": "delay" if delayed else "parallel"}
    numbers = config(prepared, teachers, model=MODEL | {"heads": heads}, augment={"time_mask": 0}, **codec)
    task = FinetuneTask(numbers)
    losses = [task.training_step(step)["loss"] for step in range(10)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) and task.optimizer.skipped_steps == 0
    assert np.isfinite(list(task.validate().values())).all()
    batch = next(iter(task.valid_sets.values()))[0]
    found = task.ema_model()(batch.video, batch.speaker, batch.padding_mask)
    for codes in (found.require("codes"), found.require("independent_code_logits").argmax(2)):
        assert load_codec(numbers.codec_path).decode(codes).isfinite().all()
        assert codes[:, 0].max() < 6


def test_books_of_other_sizes_are_refused(prepared: Path, teachers: dict[str, str], tmp_path: Path) -> None:
    codec = {"codec_path": str(save_sacodec(tmp_path / "sa"))}
    with pytest.raises(
        ValueError, match="has 2 codebooks of 16 at 50 Hz, the codec .* 2 codebooks of 6 and 16 at 50"
    ):
        FinetuneTask(config(prepared, teachers | codec))


def test_every_figure_is_logged(prepared: Path, teachers: dict[str, str]) -> None:
    logs = FinetuneTask(config(prepared, teachers)).training_step(0)
    assert set(logs) == {
        "mel",
        "lag",
        "bands",
        "unit_acc",
        "code_acc",
        "inde_acc",
        "loss",
        "grad_norm",
        "skipped_steps",
    }


def test_bands_count_as_much_as_their_weight(prepared: Path, teachers: dict[str, str]) -> None:
    plain, asked = (
        FinetuneTask(config(prepared, teachers, weights={"estoi": weight})).training_step(0)
        for weight in (0.0, 2.0)
    )
    assert asked["loss"] == pytest.approx(plain["loss"] + 2 * plain["bands"], rel=1e-4)


def test_letters_teach_the_front_end_when_they_have_a_weight(
    prepared: Path, teachers: dict[str, str], tmp_path: Path
) -> None:
    told = prepare(tmp_path / "told", splits="train train train train", frames=40, text="a b")
    numbers = config(prepared, teachers, train_data=[str(told)], weights={"ctc": 1.0})
    task = FinetuneTask(numbers)
    before = task.speller.weight.detach().clone()
    logs = [task.training_step(step)["text"] for step in range(12)]
    assert np.mean(logs[-3:]) < 0.8 * np.mean(logs[:3])
    assert not torch.equal(before, task.speller.weight)
    again = FinetuneTask(numbers)
    again.load_state_dict(task.state_dict())
    assert torch.equal(again.speller.weight, task.speller.weight)
    untold = FinetuneTask(config(prepared, teachers, weights={"ctc": 1.0})).training_step(0)
    assert untold["text"] == 0.0


def test_attention_learns_in_chunks_of_every_size(
    prepared: Path, teachers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = FinetuneTask(config(prepared, teachers, train_chunk_sizes=[0, 2, 5]))
    frontend, seen = task.model.frontend, []
    forward = frontend.forward
    monkeypatch.setattr(frontend, "forward", lambda *a, **k: seen.append(k["chunk"]) or forward(*a, **k))
    for step in range(12):
        task.training_step(step)
    assert set(seen) == {None, 2, 5}


def test_a_pitch_head_learns_alone_on_a_finished_model(
    prepared: Path, teachers: dict[str, str], tmp_path: Path
) -> None:
    first = config(prepared, teachers)
    Trainer(replace(first.trainer, steps=1), tmp_path / "first", quiet=True).fit(FinetuneTask(first))
    heads = MODEL["heads"] | {"pitch_dim": 8}
    changes = {"model": MODEL | {"heads": heads}, "weights": {"pitch": 4.0}, "trainable": ["heads.pitch."]}
    changes |= {"optimizer": {"lr": 2e-2, "warmup_steps": 1}, "trainer": {"steps": 30, "batch_size": 2}}
    numbers = config(prepared, teachers, init_from=str(tmp_path / "first" / "final"), **changes)
    task = FinetuneTask(numbers)
    logs = [task.training_step(step) for step in range(30)]
    assert sum(log["octaves"] for log in logs[-5:]) < 0.8 * sum(log["octaves"] for log in logs[:5])
    before = checkpoint.load(tmp_path / "first" / "final").tensors
    after = task.ema_model().state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name for name in after if name not in before} == {
        n for n in after if n.startswith("heads.pitch.")
    }


def test_a_part_that_is_not_there_cannot_learn(prepared: Path, teachers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="no parameter's name begins with 'heads.pitch.'"):
        FinetuneTask(config(prepared, teachers, trainable=["heads.pitch."]))


def test_validation_is_told_for_each_folder(task: FinetuneTask) -> None:
    figures = task.validate()
    assert set(figures) == {
        f"clips.{name}" for name in ("mel", "lag", "bands", "unit_acc", "code_acc", "inde_acc", "loss")
    }
    assert figures == task.validate()


def test_folders_of_one_name_are_told_apart(prepared: Path, teachers: dict[str, str], tmp_path: Path) -> None:
    other = prepare(tmp_path / "clips", splits="train valid")
    none = prepare(tmp_path / "no-valid", splits="train")
    folders = [str(prepared), str(other), str(none)]
    task = FinetuneTask(config(prepared, teachers, train_data=folders))
    assert set(task.valid_sets) == {"clips", str(other)}


def test_the_mel_head_starts_from_the_speech(task: FinetuneTask) -> None:
    mels = torch.cat([t.mel.float() for t in task.train_set.targets], 1)
    torch.testing.assert_close(task.model.heads.mel_mean, mels.mean(1))
    assert (task.model.heads.mel_std > 0).all()


def test_a_shifted_prediction_costs_no_more_than_its_lag(task: FinetuneTask) -> None:
    mel = torch.randn(2, 80, 40, generator=torch.Generator().manual_seed(0)) * task.std + task.mean
    late = torch.cat([mel[..., :1].expand(2, 80, 4), mel[..., :-4]], 2)  # the sound comes 4 steps too late
    batch = batch_of(late, [10, 10])
    assert task.lags(mel, batch).tolist() == [4, 4]
    loss, logs = task.losses(Prediction(mel=mel), batch)
    assert logs["lag"] == 4
    unlucky, _ = task.losses(Prediction(mel=mel.flip(0)), batch)
    assert loss < 0.3 * unlucky


def test_all_books_are_taught_at_the_lag_of_their_targets(task: FinetuneTask) -> None:
    mel = torch.randn(2, 80, 40, generator=torch.Generator().manual_seed(0)) * task.std + task.mean
    late = torch.cat([mel[..., :1].expand(2, 80, 4), mel[..., :-4]], 2)
    codes = torch.arange(20).remainder(16).expand(2, 2, 20).clone()
    given = task.given_codes(batch_of(late, [10, 10], codes=codes), mel)
    assert torch.equal(given[..., :18], codes[..., 2:])  # 4 mel frames are 2 steps of codes
    targets = task.shift_target(codes, torch.tensor([4, 4]), batch_of(late, [10, 10]), 50)
    assert torch.equal(given, targets)


def test_no_target_of_a_short_clip_is_read_from_its_padding(task: FinetuneTask) -> None:
    mel = torch.zeros(1, 80, 40)
    mel[..., :24] = -5.0
    codes = torch.full((1, 2, 20), -100)
    codes[..., :12] = 3
    batch = batch_of(mel, [6], codes=codes)
    for lag in (-6, 6):
        assert (task.shift_target(mel, torch.tensor([lag]), batch, 100)[..., :24] == -5).all()
        assert (task.shift_target(codes, torch.tensor([lag]), batch, 50)[..., :12] == 3).all()
        assert (task.shift_target(codes, torch.tensor([lag]), batch, 50)[..., 12:] == -100).all()


@pytest.mark.parametrize(
    ("rate", "expected"), [(100, [-6, -1, 0, 5]), (50, [-3, 0, 0, 2]), (75, [-4, 0, 0, 3])]
)
def test_lags_are_told_on_every_clock(rate: int, expected: list[int]) -> None:
    assert on_clock(torch.tensor([-6, -1, 0, 5]), rate).tolist() == expected


def test_a_front_end_may_rest_and_learn_slowly(prepared: Path, teachers: dict[str, str]) -> None:
    task = FinetuneTask(config(prepared, teachers, freeze_frontend_steps=1, frontend_lr_scale=0.1))
    before = [p.detach().clone() for p in task.model.frontend.parameters()]
    heads = [p.detach().clone() for p in task.model.heads.parameters()]
    task.training_step(0)
    assert all(torch.equal(a, b) for a, b in zip(before, task.model.frontend.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(heads, task.model.heads.parameters(), strict=True))
    task.training_step(1)
    pairs = zip(before, task.model.frontend.parameters(), strict=True)
    moves = [float((a - b.detach()).abs().max()) for a, b in pairs]
    assert 0 < max(moves) <= 1.1 * 0.1 * 3e-3  # Adam's first step is the rate itself


def test_a_pretrained_front_end_is_taken_and_the_mel_head_fitted(
    prepared: Path, teachers: dict[str, str], tmp_path: Path
) -> None:
    model = make_model()
    with torch.no_grad():
        model.frontend.video_proj.weight.add_(1)
    tensors = {f"frontend.{k}": v for k, v in model.frontend.state_dict().items()}
    values = {"kind": "avhubert", "frontend": to_dict(model.config.frontend)}
    checkpoint.save(tmp_path / "avhubert", values, tensors | {"clusters.mask_embedding": torch.zeros(2)}, "")
    task = FinetuneTask(config(prepared, teachers, init_from=str(tmp_path / "avhubert")))
    assert torch.equal(task.model.frontend.video_proj.weight, model.frontend.video_proj.weight)
    assert task.model.heads.mel_mean.abs().max() > 0.1


def test_a_whole_lip_model_keeps_its_own_mel_head(
    prepared: Path, teachers: dict[str, str], tmp_path: Path
) -> None:
    model = make_model()
    model.heads.mel_mean.fill_(-7.0)
    values = {"kind": "lip-model", "model": to_dict(model.config)}
    checkpoint.save(tmp_path / "lip", values, model.state_dict(), "")
    task = FinetuneTask(config(prepared, teachers, init_from=str(tmp_path / "lip")))
    assert (task.model.heads.mel_mean == -7).all()


def test_a_start_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = make_model()
    other = {
        "kind": "lip-model",
        "model": to_dict(replace(model.config, frontend=replace(model.config.frontend, heads=4))),
    }
    checkpoint.save(tmp_path / "lip", other, model.state_dict(), "")
    with pytest.raises(ValueError, match="has frontend.heads 4, model.frontend.heads is 2"):
        init_from_checkpoint(model, tmp_path / "lip")
    with pytest.raises(ValueError, match="holds 'codec'; initialize from a lip model"):
        init_from_checkpoint(model, save_codec(tmp_path / "codec"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit_tokenizer": ""}, "model.heads.n_units is 8, the teacher '' has 0"),
        ({"codec_path": ""}, "has 2 codebooks of 16 at 50 Hz, the codec '' no codebooks"),
        ({"sampling_weights": [1.0, 2.0]}, "2 sampling weights for 1 folders"),
        ({"train_data": []}, "no clip of split 'train' in no folder"),
    ],
)
def test_a_head_without_its_teacher_is_refused(
    prepared: Path, teachers: dict[str, str], changes: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FinetuneTask(
            config(prepared, teachers | changes, **{k: v for k, v in changes.items() if k not in teachers})
        )


def test_units_may_come_from_a_hubert(prepared: Path, teachers: dict[str, str], tmp_path: Path) -> None:
    import_hubert(CHECKPOINT, tmp_path / "hubert", kmeans=KMEANS, layer=2)
    told = teachers | {"unit_tokenizer": str(tmp_path / "hubert")}
    with pytest.raises(ValueError, match="model.heads.n_units is 8, the teacher .*hubert' has 12"):
        FinetuneTask(config(prepared, told))
    model = MODEL | {"heads": MODEL["heads"] | {"n_units": 12}}
    logs = FinetuneTask(config(prepared, told, model=model)).training_step(0)
    assert 0 <= logs["unit_acc"] <= 1


def test_heads_learn_of_voices_from_another_speaker_model(
    prepared: Path, teachers: dict[str, str], tmp_path: Path
) -> None:
    first = config(prepared, teachers)
    Trainer(first.trainer, tmp_path / "first", quiet=True).fit(FinetuneTask(first))
    ears, own = str(save_speaker_encoder(tmp_path / "ears")), tiny_speaker_encoder(0)
    model = MODEL | {"heads": MODEL["heads"] | {"speaker_dim": own.dim}}
    changes = {
        "speaker_encoder": ears,
        "init_from": str(tmp_path / "first" / "final"),
        "augment": {"vtlp": 0.1},
    }
    with pytest.raises(ValueError, match="speaker_dim is 163, voices from .*ears' have 9"):
        FinetuneTask(config(prepared, teachers, **changes))
    with pytest.raises(CheckpointError, match="heads.speaker.0.weight: LipModel expects shape"):
        FinetuneTask(config(prepared, teachers, model=model, **changes))
    task = FinetuneTask(config(prepared, teachers, model=model, trainable=["heads."], **changes))
    Trainer(task.config.trainer, tmp_path / "told", quiet=True).fit(task)
    before, after = (checkpoint.load(tmp_path / name / "final") for name in ("first", "told"))
    assert (before.config["speaker"], after.config["speaker"]) == ("ltas", own.fingerprint)
    for name, tensor in before.tensors.items():
        assert torch.equal(tensor, after.tensors[name]) == (not name.startswith("heads.")) or "mel_" in name
