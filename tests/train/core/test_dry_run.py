"""`train TASK --dry-run` (lip2speech/train/core/dry_run.py)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from lip2speech.cli import app
from lip2speech.config import dump_yaml, from_dict, load_yaml
from lip2speech.train.code_prior.task import CodePriorTask, CodePriorTrainConfig
from lip2speech.train.codec import CodecTask, CodecTrainConfig
from lip2speech.train.core.dry_run import data_summary, dry_run, track_activations
from lip2speech.train.finetune.config import FinetuneConfig
from lip2speech.train.finetune.task import FinetuneTask
from lip2speech.train.pretrain.config import PretrainConfig
from lip2speech.train.pretrain.task import PretrainTask
from lip2speech.train.speaker.task import SpeakerTask, SpeakerTrainConfig
from lip2speech.train.vocoder.hifigan import HiFiGANTask, HiFiGANTrainConfig
from lip2speech.train.vocoder.wavenet import WaveNetTask, WaveNetTrainConfig
from tests.factories import CODEC, MODEL, SACODEC

HEADS = MODEL["heads"] | {"speaker_dim": 9}
TRAINER = {"batch_size": 2, "steps": 10}
FINETUNE = {
    "model": MODEL | {"heads": HEADS}, "train_data": ["no/clips"], "sampling_weights": [1.0],
    "unit_tokenizer": "no/units", "codec_path": "no/codec", "speaker_encoder": "no/encoder",
    "init_from": "no/model", "trainer": TRAINER,
}  # fmt: skip
HIFIGAN = {"mel": {}, "n_units": 5, "speaker_dim": 163, "unit_dim": 4, "channels": 16, "ratios": [5, 4, 4, 2],
           "kernels": [11, 8, 8, 4], "block_kernels": [3], "dilations": [[1]]}  # fmt: skip
WAVENET = {"stacks": 1, "layers": 2, "channels": 4, "skip": 4, "condition": 4, "speaker_dim": 0}
TASKS: dict[str, tuple[Any, Any, dict[str, Any], list[str]]] = {
    "finetune": (FinetuneTask, FinetuneConfig, FINETUNE, ["no/units", "no/codec", "no/encoder"]),
    "codec": (
        CodecTask,
        CodecTrainConfig,
        {
            "codec": CODEC, "trainer": TRAINER | {"grad_accum_steps": 2},
            "data": {"prepared_dirs": ["no/clips"]}, "msstftd": {"filters": 2, "n_ffts": [128]},
            "quantizer_start_step": 0, "disc_start_step": 1,
        },
        [],
    ),
    "sacodec": (
        CodecTask,
        CodecTrainConfig,
        {
            "name": "sacodec", "codec": SACODEC, "trainer": TRAINER, "semantic_centroids": "no/units",
            "quantizer_start_step": 0,
        },
        ["no/units"],
    ),
    "speaker": (
        SpeakerTask,
        SpeakerTrainConfig,
        {"encoder": {"channels": 8, "pool_dim": 8, "attention_dim": 4, "dim": 6}, "trainer": TRAINER},
        [],
    ),
    "pretrain": (
        PretrainTask,
        PretrainConfig,
        {
            "frontend": MODEL["frontend"], "iterations": [{"n_units": 5, "unit_tokenizer": "no/units"}],
            "final_dim": 8, "trainer": TRAINER, "max_frames_per_batch": 160,
        },
        ["no/units"],
    ),
    "wavenet": (
        WaveNetTask,
        WaveNetTrainConfig,
        {"trainer": TRAINER, "segment_frames": 10, "wavenet": WAVENET},
        [],
    ),
    "hifigan": (
        HiFiGANTask,
        HiFiGANTrainConfig,
        {
            "trainer": TRAINER, "segment_frames": 10, "hifigan": HIFIGAN, "unit_tokenizer": "no/units",
            "disc_start_step": 1,
            "mpd": {"filters": 2, "max_filters": 4, "periods": [2, 3]},
            "msd": {"filters": 4, "max_filters": 8, "layers": 1, "scales": 1},
        },
        ["no/units"],
    ),
    "code_prior": (
        CodePriorTask,
        CodePriorTrainConfig,
        {
            "codec_path": "no/codec", "trainer": TRAINER, "segment_steps": 20,
            "prior": {"n_q": 2, "codebook_size": 16, "channels": 4, "layers": 1, "speaker_dim": 0},
        },
        ["no/codec"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_a_dry_run_needs_neither_data_nor_teachers(name: str) -> None:
    task, cls, values, missing = TASKS[name]
    lines = dry_run(task, from_dict(cls, values))
    assert [line.split(": ")[1] for line in lines if line.startswith("dummy")] == missing
    assert any(line.endswith(" parameters") for line in lines)
    assert any(line.startswith("memory: ") for line in lines)
    assert lines[-1].startswith("2 steps on dummy clips: ")
    assert "nan" not in lines[-1]


def test_saved_activations_are_counted_once_and_weights_are_not() -> None:
    weight, x = torch.nn.Parameter(torch.ones(100, 100)), torch.ones(10, 100)
    with track_activations() as saved:
        y = (x @ weight).tanh()  # keeps x and weight, then y
        (y * y).sum()  # keeps y again
    assert sum(saved.values()) == 4 * (10 * 100 + 10 * 100)


def test_the_data_summary_reports_steps_per_epoch(prepared: Path) -> None:
    values = {"train_data": [str(prepared)], "trainer": TRAINER | {"grad_accum_steps": 2}}
    assert data_summary(from_dict(FinetuneConfig, values)) == [
        "data: 5 training clips, 0.0 h; with one process an epoch is 2 steps, 10 steps are 6.7 epochs"
    ]
    cut = {
        "train_data": [str(prepared)],
        "max_frames_per_batch": 16,
        "max_frames": 16,
    }  # clips of up to 18 frames
    assert "an epoch is 5 steps" in data_summary(from_dict(PretrainConfig, cut))[0]
    by_length = data_summary(from_dict(FinetuneConfig, values | {"max_frames_per_batch": 18}))
    assert "an epoch is 2 steps, 10 steps are 4.0 epochs" in by_length[0]


def test_the_printed_config_is_valid_yaml_with_overrides_applied(tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(dump_yaml(from_dict(FinetuneConfig, FINETUNE)))
    words = ["finetune", str(config), "trainer.steps=7", "--out", str(tmp_path / "run"), "--dry-run"]
    done = CliRunner().invoke(app, ["train", *words])
    assert done.exit_code == 0, done.output
    (tmp_path / "printed.yaml").write_text(done.output)
    assert load_yaml(tmp_path / "printed.yaml")["trainer"]["steps"] == 7
    assert "# no clips yet: no/clips" in done.output
    assert not (tmp_path / "run").exists()
