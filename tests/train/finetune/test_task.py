"""Multi-task fine-tuning (lip2speech/train/finetune/task.py) with very small values."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lip2speech import checkpoint
from lip2speech.checkpoint import CheckpointError
from lip2speech.codecs import code_fingerprint, load_codec
from lip2speech.config import from_dict, to_dict
from lip2speech.importers.hubert import import_hubert
from lip2speech.models.lip2speech import LipModel, ModelConfig
from lip2speech.train.core.pretrained import init_from_checkpoint
from lip2speech.train.core.trainer import Trainer
from lip2speech.train.finetune.task import FinetuneTask
from tests.factories import (
    MODEL,
    make_model,
    prepare,
    save_codec,
    save_sacodec,
    save_speaker_encoder,
    tiny_speaker_encoder,
)
from tests.models.hubert_golden import CHECKPOINT, KMEANS
from tests.train.finetune.conftest import config

METRICS = {
    "mel", "offset", "estoi", "acc/units", "acc/codes", "acc/codes_independent", "loss",
}  # fmt: skip


def test_a_resumed_run_exports_the_same_bits_as_an_uninterrupted_one(
    prepared: Path, teachers: dict[str, str], tmp_path: Path
) -> None:
    values = config(prepared, teachers)
    Trainer(values.trainer, tmp_path / "whole", quiet=True).fit(FinetuneTask(values))
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "step-00000002.pt").rename(tmp_path / "half" / "step-00000002.pt")
    Trainer(values.trainer, tmp_path / "half", quiet=True).fit(FinetuneTask(values))
    whole, half = (checkpoint.load(tmp_path / name / "final") for name in ("whole", "half"))
    assert all(torch.equal(tensor, half.tensors[name]) for name, tensor in whole.tensors.items())
    assert whole.config["kind"] == "lip-model"
    assert whole.config["codec"] == code_fingerprint(load_codec(teachers["codec_path"]))
    model = LipModel(from_dict(ModelConfig, whole.config["model"]))
    assert init_from_checkpoint(model, tmp_path / "whole" / "final")
    assert not torch.equal(model.heads.mel.weight, make_model().heads.mel.weight)


def test_training_lowers_the_loss(prepared: Path, teachers: dict[str, str]) -> None:
    values = config(prepared, teachers, augment={"speed": 0.0, "time_mask": 0})
    task = FinetuneTask(values)
    losses = [task.training_step(step)["loss"] for step in range(10)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


@pytest.mark.parametrize("delayed", [False, True])
def test_code_heads_learn_codebooks_of_different_sizes(
    prepared: Path, teachers: dict[str, str], tmp_path: Path, delayed: bool
) -> None:
    codec = {"codec_path": str(save_sacodec(tmp_path / "sa"))}
    heads = MODEL["heads"] | {
        "codebook_size": [6, 16],
        "codebook_pattern": "delay" if delayed else "parallel",
    }
    values = config(prepared, teachers, model=MODEL | {"heads": heads}, augment={"time_mask": 0}, **codec)
    task = FinetuneTask(values)
    losses = [task.training_step(step)["loss"] for step in range(10)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert task.optimizer.skipped_steps == 0
    assert np.isfinite(list(task.validate().values())).all()
    batch = next(iter(task.valid_sets.values()))[0]
    found = task.ema_model()(batch.video, batch.speaker, batch.padding_mask)
    for codes in (found.require("codes"), found.require("independent_code_logits").argmax(2)):
        assert load_codec(values.codec_path).decode(codes).isfinite().all()
        assert codes[:, 0].max() < 6


def test_code_heads_of_other_codebook_sizes_than_the_codec_are_refused(
    prepared: Path, teachers: dict[str, str], tmp_path: Path
) -> None:
    codec = {"codec_path": str(save_sacodec(tmp_path / "sa"))}
    with pytest.raises(ValueError, match="has 2 .* of 16 at 50 Hz, codec_path .* 2 .* of 6 and 16 at 50"):
        FinetuneTask(config(prepared, teachers | codec))


def test_every_metric_is_logged(prepared: Path, teachers: dict[str, str]) -> None:
    logs = FinetuneTask(config(prepared, teachers)).training_step(0)
    assert set(logs) == METRICS | {"grad_norm", "skipped_steps"}


def test_the_ctc_loss_trains_the_ctc_head_and_resumes(
    prepared: Path, teachers: dict[str, str], tmp_path: Path
) -> None:
    with_text = prepare(tmp_path / "with_text", splits="train train train train", frames=40, text="a b")
    values = config(prepared, teachers, train_data=[str(with_text)], weights={"ctc": 1.0})
    task = FinetuneTask(values)
    before = task.ctc_head.weight.detach().clone()
    logs = [task.training_step(step)["ctc"] for step in range(12)]
    assert np.mean(logs[-3:]) < 0.8 * np.mean(logs[:3])
    assert not torch.equal(before, task.ctc_head.weight)
    again = FinetuneTask(values)
    again.load_state_dict(task.state_dict())
    assert torch.equal(again.ctc_head.weight, task.ctc_head.weight)
    without_text = FinetuneTask(config(prepared, teachers, weights={"ctc": 1.0})).training_step(0)
    assert without_text["ctc"] == 0.0


def test_every_train_chunk_size_is_drawn(
    prepared: Path, teachers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = FinetuneTask(config(prepared, teachers, train_chunk_sizes=[0, 2, 5]))
    frontend, seen = task.model.frontend, []
    forward = frontend.forward
    monkeypatch.setattr(frontend, "forward", lambda *a, **k: seen.append(k["chunk"]) or forward(*a, **k))
    for step in range(12):
        task.training_step(step)
    assert set(seen) == {None, 2, 5}


def test_a_new_pitch_head_is_trained_while_the_rest_stays_frozen(
    prepared: Path, teachers: dict[str, str], tmp_path: Path
) -> None:
    first = config(prepared, teachers)
    Trainer(replace(first.trainer, steps=1), tmp_path / "first", quiet=True).fit(FinetuneTask(first))
    heads = MODEL["heads"] | {"pitch_dim": 8}
    changes = {"model": MODEL | {"heads": heads}, "weights": {"pitch": 4.0}, "trainable": ["heads.pitch."]}
    changes |= {"optimizer": {"lr": 2e-2, "warmup_steps": 1}, "trainer": {"steps": 30, "batch_size": 2}}
    values = config(prepared, teachers, init_from=str(tmp_path / "first" / "final"), **changes)
    task = FinetuneTask(values)
    logs = [task.training_step(step) for step in range(30)]
    assert sum(log["f0_l1_octaves"] for log in logs[-5:]) < 0.8 * sum(
        log["f0_l1_octaves"] for log in logs[:5]
    )
    before = checkpoint.load(tmp_path / "first" / "final").tensors
    after = task.ema_model().state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name for name in after if name not in before} == {
        n for n in after if n.startswith("heads.pitch.")
    }


def test_a_trainable_prefix_that_matches_no_parameter_is_refused(
    prepared: Path, teachers: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="no parameter's name starts with 'heads.pitch.'"):
        FinetuneTask(config(prepared, teachers, trainable=["heads.pitch."]))


def test_validation_reports_metrics_by_folder_and_is_deterministic(task: FinetuneTask) -> None:
    metrics = task.validate()
    assert set(metrics) == {f"clips/{name}" for name in METRICS}
    assert metrics == task.validate()


def test_validation_sets_of_equally_named_folders_are_kept_apart(
    prepared: Path, teachers: dict[str, str], tmp_path: Path
) -> None:
    other = prepare(tmp_path / "clips", splits="train valid")
    none = prepare(tmp_path / "no-valid", splits="train")
    folders = [str(prepared), str(other), str(none)]
    task = FinetuneTask(config(prepared, teachers, train_data=folders))
    assert set(task.valid_sets) == {"clips", str(other)}


def test_the_mel_head_starts_with_the_statistics_of_the_training_mels(task: FinetuneTask) -> None:
    mels = torch.cat([t.mel.float() for t in task.train_set.targets], 1)
    torch.testing.assert_close(task.model.heads.mel_mean, mels.mean(1))
    assert (task.model.heads.mel_std > 0).all()


def test_the_front_end_can_be_frozen_first_and_then_trained_at_its_own_rate(
    prepared: Path, teachers: dict[str, str]
) -> None:
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


def test_a_pretrained_front_end_is_loaded_and_the_mel_statistics_are_set(
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


def test_a_loaded_lip_model_keeps_its_mel_statistics(
    prepared: Path, teachers: dict[str, str], tmp_path: Path
) -> None:
    model = make_model()
    model.heads.mel_mean.fill_(-7.0)
    values = {"kind": "lip-model", "model": to_dict(model.config)}
    checkpoint.save(tmp_path / "lip", values, model.state_dict(), "")
    task = FinetuneTask(config(prepared, teachers, init_from=str(tmp_path / "lip")))
    assert (task.model.heads.mel_mean == -7).all()


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
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
        ({"unit_tokenizer": ""}, "model.heads.n_units is 8, unit_tokenizer '' has 0"),
        ({"codec_path": ""}, "has 2 .* of 16 at 50 Hz, codec_path '' no "),
        ({"sampling_weights": [1.0, 2.0]}, "2 sampling weights for 1 folders"),
        ({"train_data": []}, "no clip of split 'train' in no folder"),
    ],
)
def test_missing_or_contradictory_data_and_teachers_are_refused(
    prepared: Path, teachers: dict[str, str], changes: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FinetuneTask(
            config(prepared, teachers | changes, **{k: v for k, v in changes.items() if k not in teachers})
        )


def test_units_of_an_imported_hubert_are_accepted(
    prepared: Path, teachers: dict[str, str], tmp_path: Path
) -> None:
    import_hubert(CHECKPOINT, tmp_path / "hubert", kmeans=KMEANS, layer=2)
    changed = teachers | {"unit_tokenizer": str(tmp_path / "hubert")}
    with pytest.raises(ValueError, match="model.heads.n_units is 8, unit_tokenizer .*hubert' has 12"):
        FinetuneTask(config(prepared, changed))
    model = MODEL | {"heads": MODEL["heads"] | {"n_units": 12}}
    logs = FinetuneTask(config(prepared, changed, model=model)).training_step(0)
    assert 0 <= logs["acc/units"] <= 1


def test_heads_are_retrained_for_another_speaker_encoder(
    prepared: Path, teachers: dict[str, str], tmp_path: Path
) -> None:
    first = config(prepared, teachers)
    Trainer(first.trainer, tmp_path / "first", quiet=True).fit(FinetuneTask(first))
    folder, encoder = str(save_speaker_encoder(tmp_path / "encoder")), tiny_speaker_encoder(0)
    model = MODEL | {"heads": MODEL["heads"] | {"speaker_dim": encoder.dim}}
    changes = {
        "speaker_encoder": folder,
        "init_from": str(tmp_path / "first" / "final"),
        "augment": {"vtlp": 0.1},
    }
    with pytest.raises(
        ValueError, match="speaker_dim is 163, embeddings of speaker_encoder .*encoder have 9"
    ):
        FinetuneTask(config(prepared, teachers, **changes))
    with pytest.raises(CheckpointError, match="heads.speaker.0.weight: LipModel expects shape"):
        FinetuneTask(config(prepared, teachers, model=model, **changes))
    task = FinetuneTask(config(prepared, teachers, model=model, trainable=["heads."], **changes))
    Trainer(task.config.trainer, tmp_path / "second", quiet=True).fit(task)
    before, after = (checkpoint.load(tmp_path / name / "final") for name in ("first", "second"))
    assert (before.config["speaker"], after.config["speaker"]) == ("ltas", encoder.fingerprint)
    for name, tensor in before.tensors.items():
        assert torch.equal(tensor, after.tensors[name]) == (not name.startswith("heads.")) or "mel_" in name
