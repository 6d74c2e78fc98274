"""Export of a model folder (lip2speech/train/export.py)."""

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
from lip2speech.components import load_model_speaker_encoder
from lip2speech.config import from_dict, to_dict
from lip2speech.data.dataset import read_clips
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder
from lip2speech.pipeline import Lip2Speech
from lip2speech.train.export import ExportConfig, export_model
from lip2speech.vocoders import HiFiGAN, HiFiGANConfig, WaveNet, WaveNetConfig
from tests.factories import (
    CODEC,
    MODEL,
    make_code_prior,
    make_codec,
    make_model,
    save_code_prior,
    save_codec,
    save_speaker_encoder,
    synthetic_voice,
    tiny_speaker_encoder,
)


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, str]:
    """The checkpoint folders that training writes."""
    model = make_model()
    values = {
        "kind": "lip-model",
        "model": to_dict(model.config),
        "transform": to_dict(Transform(mean=0.4)),
        "codec": code_fingerprint(make_codec()),
    }
    checkpoint.save(tmp_path / "lip", values, model.state_dict(), "")
    return {"lip_model": str(tmp_path / "lip"), "codec_path": str(save_codec(tmp_path / "codec"))}


def config(prepared: Path, parts: dict[str, str], **changes: Any) -> ExportConfig:
    voices = [{"name": n, "folder": str(prepared), "speaker": n} for n in ("ann", "ben")]
    numbers = {
        "model_card": "# Card\n",
        "stored_voices": voices,
        "inference": {"default_voice": "ben", "window_frames": 50, "overlap_frames": 10},
    }
    return from_dict(ExportConfig, numbers | parts | changes)


def test_the_exported_folder_synthesizes_speech(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    size = export_model(config(prepared, parts), tmp_path / "model")
    assert size == (tmp_path / "model" / "model.safetensors").stat().st_size
    model = Lip2Speech.from_pretrained(tmp_path / "model", device="cpu")
    wav = model.synthesize(np.zeros((9, 96, 96), np.uint8))
    assert (wav.shape, wav.dtype) == ((9 * 640,), torch.float32)
    assert wav.abs().max() <= 1
    assert model.transform.mean == 0.4
    assert (model.config.window_frames, model.config.vocoder) == (50, "mel")
    assert checkpoint.load(tmp_path / "model").card == "# Card\n"


def test_a_stored_voice_is_the_mean_embedding_of_its_speakers_clips(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    export_model(config(prepared, parts), tmp_path / "model")
    model = Lip2Speech.from_pretrained(tmp_path / "model", device="cpu")
    clips = [clip for clip in read_clips([prepared], "train") if clip.speaker == "ann"]
    mean = torch.stack([LTASSpeakerEncoder().embed(clip.wav()) for clip in clips]).mean(0)
    torch.testing.assert_close(model.voices["ann"], mean, rtol=2e-3, atol=2e-3)  # stored as float16
    assert torch.equal(model.speaker_embedding(None), model.voices["ben"])


def test_float16_weights_predict_nearly_the_same_mel(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    export_model(config(prepared, parts), tmp_path / "model")
    model = Lip2Speech.from_pretrained(tmp_path / "model", device="cpu")
    roi = np.random.default_rng(0).integers(0, 256, (4, 96, 96), dtype=np.uint8)
    stored = model.predict(roi).require("mel")
    model.model = make_model()
    torch.testing.assert_close(stored, model.predict(roi).require("mel"), rtol=0, atol=0.02)


def test_a_codec_other_than_the_one_trained_on_is_refused(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    other = make_codec(CODEC)
    with torch.no_grad():
        other.quantizer.codebooks[0].entries.add_(1)
    parts["codec_path"] = str(save_codec(tmp_path / "other", other))
    with pytest.raises(ValueError, match="was trained on codes of codec .*, .*other is "):
        export_model(config(prepared, parts), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_default_vocoder_that_is_not_included_is_refused_and_nothing_is_written(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="its default vocoder 'wavenet' or voice 'ann' is not in it"):
        export_model(
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
            "not a folder of prepared clips",
        ),
    ],
)
def test_a_missing_default_voice_is_refused(
    prepared: Path, parts: dict[str, str], tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        export_model(config(prepared, parts, **changes), tmp_path / "model")


def test_a_speaker_without_clips_is_refused(prepared: Path, parts: dict[str, str], tmp_path: Path) -> None:
    voices = [{"name": "x", "folder": str(prepared), "speaker": "eve"}]
    with pytest.raises(ValueError, match="has no training clip of speaker 'eve'"):
        export_model(config(prepared, parts, stored_voices=voices), tmp_path / "model")


def test_a_codec_in_place_of_the_lip_model_is_refused(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    swapped = {"lip_model": parts["codec_path"], "codec_path": parts["lip_model"]}
    with pytest.raises(ValueError, match="holds 'codec', expected 'lip-model'"):
        export_model(config(prepared, swapped), tmp_path / "model")


def test_an_existing_folder_is_overwritten_only_on_request(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    export_model(config(prepared, parts), tmp_path / "model")
    with pytest.raises(CheckpointError, match="already exists"):
        export_model(config(prepared, parts), tmp_path / "model")
    export_model(config(prepared, parts, model_card="# New\n"), tmp_path / "model", overwrite=True)
    assert checkpoint.load(tmp_path / "model").card == "# New\n"


def test_the_speaker_encoder_of_the_lip_model_is_included_and_another_is_refused(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    encoder = tiny_speaker_encoder(0)
    heads = MODEL["heads"] | {"speaker_dim": encoder.dim}
    model = make_model(MODEL | {"heads": heads})
    values = checkpoint.load(parts["lip_model"]).config | {
        "model": to_dict(model.config),
        "speaker": encoder.fingerprint,
    }
    checkpoint.save(tmp_path / "lip-x", values, model.state_dict(), "")
    parts |= {
        "lip_model": str(tmp_path / "lip-x"),
        "speaker_encoder": str(save_speaker_encoder(tmp_path / "encoder")),
    }
    export_model(config(prepared, parts), tmp_path / "model")
    model = Lip2Speech.from_pretrained(tmp_path / "model", device="cpu")
    assert model.speaker_encoder.fingerprint == encoder.fingerprint
    assert load_model_speaker_encoder(tmp_path / "model").fingerprint == encoder.fingerprint
    write_wav(tmp_path / "eve.wav", synthetic_voice(50, 150.0))
    expected = encoder.embed(read_wav(tmp_path / "eve.wav"))
    torch.testing.assert_close(model.speaker_embedding(tmp_path / "eve.wav"), expected, rtol=0, atol=0.02)
    parts["speaker_encoder"] = str(save_speaker_encoder(tmp_path / "other", seed=1))
    with pytest.raises(
        ValueError, match=f"trained with speaker encoder {encoder.fingerprint}, speaker_encoder .*other is "
    ):
        export_model(config(prepared, parts), tmp_path / "refused")


def save_vocoder(folder: Path, name: str, *, speaker: str | None = None, **sizes: Any) -> str:
    """A checkpoint folder of a vocoder, trained with the speaker encoder of a fingerprint."""
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
    if speaker is not None:
        values["speaker"] = speaker
    checkpoint.save(folder, values, vocoder.state_dict(), "")
    return str(folder)


@pytest.mark.parametrize("name", ["hifigan", "wavenet"])
def test_a_trained_vocoder_is_included_and_can_be_the_default(
    name: str, prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    parts["vocoder"] = save_vocoder(tmp_path / "v", name, speaker=LTASSpeakerEncoder().fingerprint)
    own = {"default_voice": "ben", "vocoder": name}
    export_model(config(prepared, parts, inference=own), tmp_path / "model")
    model = Lip2Speech.from_pretrained(tmp_path / "model", device="cpu")
    assert name in model.vocoder_names
    assert model.config.vocoder == name
    wav = model.synthesize(np.zeros((2, 96, 96), np.uint8))
    assert wav.shape == (1280,)
    assert not torch.equal(wav, model.synthesize(np.zeros((2, 96, 96), np.uint8), vocoder="mel"))


def test_a_vocoder_that_does_not_fit_is_refused(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    for number, (speaker, sizes, message) in enumerate(
        [
            ("other", {}, "was trained with speaker encoder other, the lip model with ltas"),
            (None, {"n_units": 9}, "the model has n_units 8, its vocoder n_units 9"),
            (None, {"mel": MelConfig(f_max=7600.0)}, "the model's mel has f_max 8000.0, the vocoder's f_max"),
        ]
    ):
        parts["vocoder"] = save_vocoder(tmp_path / f"v{number}", "hifigan", speaker=speaker, **sizes)
        with pytest.raises(ValueError, match=message):
            export_model(config(prepared, parts), tmp_path / "model")
    parts["vocoder"] = parts["codec_path"]
    with pytest.raises(CheckpointError, match="holds 'codec', expected 'vocoder'"):
        export_model(config(prepared, parts), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_vocoder_without_speaker_conditioning_fits_any_speaker_encoder(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    parts["vocoder"] = save_vocoder(tmp_path / "v", "wavenet", speaker="other", speaker_dim=0)
    export_model(config(prepared, parts), tmp_path / "model")
    assert "wavenet" in Lip2Speech.from_pretrained(tmp_path / "model", device="cpu").vocoder_names


def test_a_code_prior_is_included(prepared: Path, parts: dict[str, str], tmp_path: Path) -> None:
    plain = export_model(config(prepared, parts), tmp_path / "plain")
    parts["code_prior"] = str(save_code_prior(tmp_path / "code_prior"))
    weights = sum(w.numel() for w in make_code_prior().state_dict().values())
    assert (
        2 * weights < export_model(config(prepared, parts), tmp_path / "model") - plain < 2 * weights + 4000
    )
    model = Lip2Speech.from_pretrained(tmp_path / "model", device="cpu")
    prediction = model.predict(np.zeros((4, 96, 96), np.uint8))
    kept = model.code_bits(prediction)[0]
    model.code_prior = make_code_prior()
    torch.testing.assert_close(kept, model.code_bits(prediction)[0], rtol=0, atol=0.02)  # stored as float16


def test_a_code_prior_of_another_codec_or_speaker_encoder_is_refused(
    prepared: Path, parts: dict[str, str], tmp_path: Path
) -> None:
    other = make_codec(CODEC)
    with torch.no_grad():
        other.quantizer.codebooks[0].entries.add_(1)
    for name, folder in {
        "codec": save_code_prior(tmp_path / "codes", codec=other),
        "speaker": save_code_prior(tmp_path / "voices", speaker="0123"),
    }.items():
        with pytest.raises(CheckpointError, match=f"the code prior was trained with {name} "):
            export_model(config(prepared, parts, code_prior=str(folder)), tmp_path / "model")
    with pytest.raises(CheckpointError, match="holds 'codec', expected 'code_prior'"):
        export_model(config(prepared, parts, code_prior=parts["codec_path"]), tmp_path / "model")
    assert not (tmp_path / "model").exists()
