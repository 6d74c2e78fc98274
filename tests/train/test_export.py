"""Lip model, codec and voices into one folder that speaks (lip2speech/train/export.py)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lip2speech import checkpoint
from lip2speech.audio.io import read_wav, write_wav
from lip2speech.audio.mel import MelConfig
from lip2speech.checkpoint import CheckpointError
from lip2speech.codecs import code_fingerprint
from lip2speech.components import speaker_model_at
from lip2speech.config import from_dict, to_dict
from lip2speech.data.dataset import read_clips
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder
from lip2speech.pipeline import Lip2Speech
from lip2speech.train.export import AssembleConfig, assemble
from lip2speech.vocoders import HiFiGAN, HiFiGANConfig, WaveNet, WaveNetConfig
from tests.factories import (
    CODEC,
    MODEL,
    buzz,
    make_codec,
    make_likelihood,
    make_model,
    save_codec,
    save_encoder,
    save_likelihood,
    tiny_encoded,
)


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, str]:
    """The folders that training leaves."""
    model = make_model()
    values = {
        "kind": "lip-model",
        "model": to_dict(model.config),
        "transform": to_dict(Transform(mean=0.4)),
        "codec": code_fingerprint(make_codec()),
    }
    checkpoint.save(tmp_path / "lip", values, model.state_dict(), "")
    return {"lip_model": str(tmp_path / "lip"), "codec_path": str(save_codec(tmp_path / "codec"))}


def config(prepared: Path, parts: dict[str, str], **changes: Any) -> AssembleConfig:
    voices = [{"name": n, "folder": str(prepared), "speaker": n} for n in ("ann", "ben")]
    numbers = {
        "model_card": "# Card\n",
        "stored_voices": voices,
        "inference": {"default_voice": "ben", "window_frames": 50, "overlap_frames": 10},
    }
    return from_dict(AssembleConfig, numbers | parts | changes)


def test_the_folder_speaks(prepared: Path, parts: dict[str, str], tmp_path: Path) -> None:
    size = assemble(config(prepared, parts), tmp_path / "model")
    assert size == (tmp_path / "model" / "model.safetensors").stat().st_size
    speech = Lip2Speech.from_pretrained(tmp_path / "model", device="cpu")
    wav = speech(np.zeros((9, 96, 96), np.uint8))
    assert (wav.shape, wav.dtype) == ((9 * 640,), torch.float32)
    assert wav.abs().max() <= 1
    assert speech.transform.mean == 0.4
    assert (speech.config.window_frames, speech.config.vocoder) == (50, "mel")
    assert checkpoint.load(tmp_path / "model").card == "# Card\n"


def test_a_voice_is_the_mean_of_its_speakers_clips(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    assemble(config(prepared, parts), tmp_path / "model")
    speech = Lip2Speech.from_pretrained(tmp_path / "model", device="cpu")
    clips = [clip for clip in read_clips([prepared], "train") if clip.speaker == "ann"]
    mean = torch.stack([LTASSpeakerEncoder().embed(clip.wav()) for clip in clips]).mean(0)
    torch.testing.assert_close(speech.voices["ann"], mean, rtol=2e-3, atol=2e-3)  # stored as float16
    assert torch.equal(speech.speaker_embedding(None), speech.voices["ben"])


def test_half_the_precision_sounds_the_same(prepared: Path, parts: dict[str, str], tmp_path: Path) -> None:
    assemble(config(prepared, parts), tmp_path / "model")
    speech = Lip2Speech.from_pretrained(tmp_path / "model", device="cpu")
    roi = np.random.default_rng(0).integers(0, 256, (4, 96, 96), dtype=np.uint8)
    stored = speech.predict(roi).require("mel")
    speech.model = make_model()
    torch.testing.assert_close(stored, speech.predict(roi).require("mel"), rtol=0, atol=0.02)


def test_a_codec_whose_codes_mean_something_else_is_refused(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    other = make_codec(CODEC)
    with torch.no_grad():
        other.quantizer.codebooks[0].entries.add_(1)
    parts["codec_path"] = str(save_codec(tmp_path / "other", other))
    with pytest.raises(ValueError, match="has learned codes of codec .*, .*other is "):
        assemble(config(prepared, parts), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_parts_that_do_not_fit_leave_nothing_behind(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="its own route 'wavenet'"):
        assemble(
            config(prepared, parts, inference={"default_voice": "ann", "vocoder": "wavenet"}),
            tmp_path / "model",
        )
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"inference": {"default_voice": "eve"}},
            "inference.default_voice is 'eve', expected one of ann, ben",
        ),
        (
            {"stored_voices": [{"name": "x", "folder": "", "speaker": "x"}]},
            "no folder of prepared clips|no clip",
        ),
    ],
)
def test_a_voice_that_is_not_there_is_refused(
    prepared: Path, parts: dict[str, str], tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        assemble(config(prepared, parts, **changes), tmp_path / "model")


def test_a_speaker_without_clips_is_refused(prepared: Path, parts: dict[str, str], tmp_path: Path) -> None:
    voices = [{"name": "x", "folder": str(prepared), "speaker": "eve"}]
    with pytest.raises(ValueError, match="has no training clip of speaker 'eve'"):
        assemble(config(prepared, parts, stored_voices=voices), tmp_path / "model")


def test_swapped_parts_are_refused(prepared: Path, parts: dict[str, str], tmp_path: Path) -> None:
    swapped = {"lip_model": parts["codec_path"], "codec_path": parts["lip_model"]}
    with pytest.raises(ValueError, match="holds 'codec', expected a lip-model"):
        assemble(config(prepared, swapped), tmp_path / "model")


def test_a_folder_that_is_there_is_replaced_only_when_asked(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    assemble(config(prepared, parts), tmp_path / "model")
    with pytest.raises(CheckpointError, match="already exists"):
        assemble(config(prepared, parts), tmp_path / "model")
    assemble(config(prepared, parts, model_card="# New\n"), tmp_path / "model", overwrite=True)
    assert checkpoint.load(tmp_path / "model").card == "# New\n"


def test_a_system_hears_voices_as_its_lip_model_learned_to(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    own = tiny_encoded(0)
    heads = MODEL["heads"] | {"speaker_dim": own.dim}
    model = make_model(MODEL | {"heads": heads})
    values = checkpoint.load(parts["lip_model"]).config | {
        "model": to_dict(model.config),
        "speaker": own.fingerprint,
    }
    checkpoint.save(tmp_path / "told", values, model.state_dict(), "")
    parts |= {"lip_model": str(tmp_path / "told"), "speaker_encoder": str(save_encoder(tmp_path / "ears"))}
    assemble(config(prepared, parts), tmp_path / "model")
    speech = Lip2Speech.from_pretrained(tmp_path / "model", device="cpu")
    assert speech.speaker_encoder.fingerprint == own.fingerprint
    assert speaker_model_at(tmp_path / "model").fingerprint == own.fingerprint
    write_wav(tmp_path / "eve.wav", buzz(50, 150.0))
    heard = own.embed(read_wav(tmp_path / "eve.wav"))
    torch.testing.assert_close(speech.speaker_embedding(tmp_path / "eve.wav"), heard, rtol=0, atol=0.02)
    parts["speaker_encoder"] = str(save_encoder(tmp_path / "other", seed=1))
    with pytest.raises(
        ValueError, match=f"told of voices by speaker model {own.fingerprint}, .*other' gives "
    ):
        assemble(config(prepared, parts), tmp_path / "refused")


def save_vocoder(folder: Path, name: str, *, heard: str | None = None, **sizes: Any) -> str:
    """The folder that training of a vocoder would have written; `heard`: by which speaker model."""
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "n_units": 8,
        "unit_dim": 4,
        "speaker_dim": 163,
        "channels": 32,
        "mel": MelConfig(),
    }
    if name == "wavenet":
        small = {"stacks": 1, "layers": 2, "channels": 4, "skip": 4, "condition": 4}
    vocoder = (
        HiFiGAN(HiFiGANConfig(**small | sizes))
        if name == "hifigan"
        else WaveNet(WaveNetConfig(**small | sizes))
    )
    values = {"kind": "vocoder", "name": name, "vocoder": to_dict(vocoder.config)}
    if heard is not None:
        values["speaker"] = heard
    checkpoint.save(folder, values, vocoder.state_dict(), "")
    return str(folder)


@pytest.mark.parametrize("name", ["hifigan", "wavenet"])
def test_a_trained_vocoder_becomes_a_route(
    name: str, prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    parts["vocoder"] = save_vocoder(tmp_path / "v", name, heard=LTASSpeakerEncoder().fingerprint)
    own = {"default_voice": "ben", "vocoder": name}
    assemble(config(prepared, parts, inference=own), tmp_path / "model")
    speech = Lip2Speech.from_pretrained(tmp_path / "model", device="cpu")
    assert name in speech.vocoder_names and speech.config.vocoder == name
    wav = speech(np.zeros((2, 96, 96), np.uint8))
    assert wav.shape == (1280,)
    assert not torch.equal(wav, speech(np.zeros((2, 96, 96), np.uint8), route="mel"))


def test_a_vocoder_that_does_not_fit_is_refused(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    for number, (heard, sizes, message) in enumerate(
        [
            ("other", {}, "was told of voices by speaker model other, the lip model by spectrum"),
            (None, {"n_units": 9}, "the model has n_units 8, its vocoder n_units 9"),
            (None, {"mel": MelConfig(f_max=7600.0)}, "the model's mel has f_max 8000.0, the vocoder's f_max"),
        ]
    ):
        parts["vocoder"] = save_vocoder(tmp_path / f"v{number}", "hifigan", heard=heard, **sizes)
        with pytest.raises(ValueError, match=message):
            assemble(config(prepared, parts), tmp_path / "model")
    parts["vocoder"] = parts["codec_path"]
    with pytest.raises(CheckpointError, match="holds 'codec', expected a vocoder"):
        assemble(config(prepared, parts), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_voices_do_not_matter_to_a_vocoder_that_is_told_none(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    parts["vocoder"] = save_vocoder(tmp_path / "v", "wavenet", heard="other", speaker_dim=0)
    assemble(config(prepared, parts), tmp_path / "model")
    assert "wavenet" in Lip2Speech.from_pretrained(tmp_path / "model", device="cpu").vocoder_names


def test_a_likelihood_becomes_a_part(prepared: Path, parts: dict[str, str], tmp_path: Path) -> None:
    plain = assemble(config(prepared, parts), tmp_path / "plain")
    parts["code_prior"] = str(save_likelihood(tmp_path / "likelihood"))
    weights = sum(w.numel() for w in make_likelihood().state_dict().values())
    assert 2 * weights < assemble(config(prepared, parts), tmp_path / "model") - plain < 2 * weights + 4000
    speech = Lip2Speech.from_pretrained(tmp_path / "model", device="cpu")
    prediction = speech.predict(np.zeros((4, 96, 96), np.uint8))
    kept = speech.bits(prediction)[0]
    speech.code_prior = make_likelihood()
    torch.testing.assert_close(kept, speech.bits(prediction)[0], rtol=0, atol=0.02)  # stored as float16


def test_a_likelihood_of_other_codes_or_voices_is_refused(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    other = make_codec(CODEC)
    with torch.no_grad():
        other.quantizer.codebooks[0].entries.add_(1)
    for name, folder in {
        "codec": save_likelihood(tmp_path / "codes", codec=other),
        "speaker": save_likelihood(tmp_path / "voices", speaker="0123"),
    }.items():
        with pytest.raises(CheckpointError, match=f"the likelihood has learned with {name} "):
            assemble(config(prepared, parts, code_prior=str(folder)), tmp_path / "model")
    with pytest.raises(CheckpointError, match="holds 'codec', expected a code_prior of a codec's codes"):
        assemble(config(prepared, parts, code_prior=parts["codec_path"]), tmp_path / "model")
    assert not (tmp_path / "model").exists()
