"""Training of a WaveNet (lip2speech/train/vocoder.py) with very small numbers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lip2speech import checkpoint
from lip2speech.config import ConfigError, from_dict
from lip2speech.prediction import Prediction
from lip2speech.speaker import Spectrum
from lip2speech.train.loop import run
from lip2speech.train.vocoder import Sounds, VocoderTrainConfig, WaveNetTask, smear
from lip2speech.vocoder.load import load_vocoder
from tests.tiny import prepare, save_encoder


def config(folder: Path, **changes: Any) -> VocoderTrainConfig:
    numbers = {
        "wavenet": {"stacks": 1, "layers": 3, "channels": 8, "skip": 8, "condition": 8, "classes": 32},
        "loop": {"steps": 4, "batch_size": 2, "save_every": 2, "valid_every": 4},
        "optimizer": {"lr": 1e-2, "warmup": 1, "weight_decay": 0.0},
        "folders": [str(folder)],
        "frames": 6,
        "blur": 1.0,
        "noise": 0.2,
        "ema": 0.9,
    }
    return from_dict(VocoderTrainConfig, numbers | changes)


def test_training_saves_bits(prepared: Path) -> None:
    fast = {"lr": 3e-2, "warmup": 1, "weight_decay": 0.0}
    task = WaveNetTask(config(prepared, loop={"steps": 25, "batch_size": 2}, optimizer=fast))
    first = task.validate()["bits"]
    assert first == pytest.approx(math.log2(32), abs=0.5)
    bits = [task.update(step)["bits"] for step in range(25)]
    assert np.mean(bits[-3:]) < np.mean(bits[:3]) - 0.7, bits
    assert task.validate()["bits"] < first - 0.3, (first, task.validate())


def test_a_resumed_run_ends_as_an_uninterrupted_one(prepared: Path, tmp_path: Path) -> None:
    numbers = config(prepared)
    run(WaveNetTask(numbers), numbers.loop, tmp_path / "whole", quiet=True)
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "step-00000002.pt").rename(tmp_path / "half" / "step-00000002.pt")
    run(WaveNetTask(numbers), numbers.loop, tmp_path / "half", quiet=True)
    whole, half = (checkpoint.load(tmp_path / name / "final").tensors for name in ("whole", "half"))
    assert all(torch.equal(whole[name], half[name]) for name in whole)


def test_a_trained_wavenet_is_written_and_read(prepared: Path, tmp_path: Path) -> None:
    task = WaveNetTask(config(prepared))
    run(task, task.config.loop, tmp_path, quiet=True)
    loaded = load_vocoder(tmp_path / "final")
    p = Prediction(mel=torch.full((1, 80, 3), -6.0), speaker=torch.zeros(1, 163))
    assert torch.equal(loaded(p), task.averaged()(p))
    assert checkpoint.load(tmp_path / "final").config["speaker"] == Spectrum().fingerprint


def test_mels_are_brought_to_mean_0_and_deviation_1(prepared: Path) -> None:
    task = WaveNetTask(config(prepared))
    mel = torch.cat([t.mel.float() for t in task.train_set.targets], 1)[None]
    normal = task.wavenet.normal(mel)
    torch.testing.assert_close(normal.mean(-1), torch.zeros(1, 80), atol=1e-3, rtol=0)
    assert normal.std(-1).max() < 1.01


def test_a_segments_mel_is_that_of_its_sound(prepared: Path) -> None:
    sounds = Sounds(config(prepared, frames=40), "train", Spectrum())
    wav, mel, speaker = sounds.draw(3, np.random.default_rng(0))
    assert (wav.shape, mel.shape, speaker.shape) == ((3, 6400), (3, 80, 40), (3, 163))
    for i, target in enumerate(
        sounds.targets
    ):  # each segment is found in its clip, at one and the same place
        whole = sounds.wavs[i].float() / 32768.0
        segment, cut = sounds.segment(i, np.random.default_rng(i))
        starts = [
            s for s in range(target.mel.shape[1] - 39) if torch.equal(target.mel[:, s : s + 40].float(), cut)
        ]
        assert any(torch.equal(whole[160 * s : 160 * s + 6400], segment) for s in starts)


def test_the_voice_is_told_by_another_clip_of_the_speaker(prepared: Path) -> None:
    sounds = Sounds(config(prepared), "train", Spectrum())
    owner = {tuple(voice.tolist()): i for i, voice in enumerate(sounds.voices)}
    _, mel, voices = sounds.draw(5, np.random.default_rng(0))
    assert len(mel) == len(owner) == 5  # every clip once, in some order
    told = [owner[tuple(voice.tolist())] for voice in voices]
    order = np.random.default_rng(0).choice(5, 5, replace=False)
    for i, j in zip(order, told, strict=True):
        assert i != j and sounds.clips[i].speaker == sounds.clips[j].speaker


def test_voices_of_an_encoder_have_its_size(prepared: Path, tmp_path: Path) -> None:
    ears = str(save_encoder(tmp_path / "ears"))
    with pytest.raises(ValueError, match="wavenet.speaker_dim is 163, voices are heard as 9 numbers"):
        WaveNetTask(config(prepared, speaker=ears))
    sizes = {"stacks": 1, "layers": 1, "channels": 4, "skip": 4, "condition": 4, "speaker_dim": 9}
    assert WaveNetTask(config(prepared, speaker=ears, wavenet=sizes)).update(0)["bits"] > 0


def test_clips_shorter_than_a_segment_are_left_out(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "clips", splits="train train train", frames=14)
    sounds = Sounds(config(folder, frames=60), "train", Spectrum())
    assert [clip.n_frames for clip in sounds.clips] == [15, 16]
    with pytest.raises(ValueError, match="no clip of split 'train'"):
        Sounds(config(folder, frames=80), "train", Spectrum())


def test_smeared_mels_keep_their_level_and_lose_their_edges() -> None:
    torch.manual_seed(0)
    mel = torch.zeros(3, 80, 40)
    mel[:, 30:50, 10:30] = 4.0
    soft = smear(mel, 2.0, 0.0)
    assert soft.shape == mel.shape
    torch.testing.assert_close(soft[:, 40, 20], mel[:, 40, 20], atol=1e-2, rtol=0)
    edges = [float(x.diff(dim=1).abs().max()) for x in soft]
    assert min(edges) < 2 and max(edges) < 4.01
    assert len(set(edges)) == 3  # each has its own share
    rough = smear(mel, 0.0, 1.0)
    assert 0 < (rough - mel).std() < 1 and abs(float((rough - mel).mean())) < 0.02
    assert torch.equal(smear(mel, 0.0, 0.0), mel)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 0}, "frames must be 1 or more, blur and noise 0 or more, got 0, 1.0 and 0.2"),
        ({"blur": -1.0}, "blur and noise 0 or more"),
        ({"wavenet": {"mel": {"hop_length": 200}}}, "leave wavenet.mel as it is"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(prepared: Path, change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(prepared, **change)
