"""Speaker encoders (lip2speech/models/speaker_encoder/)."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lip2speech.audio.mel import LogMel, MelConfig, warp_mel
from lip2speech.checkpoint import CheckpointError
from lip2speech.config import to_dict
from lip2speech.models.speaker_encoder import (
    LTAS_DIM,
    LTASSpeakerEncoder,
    XVectorSpeakerEncoder,
    build_speaker_encoder,
    read_embedding,
)
from lip2speech.models.speaker_encoder.base import check_recording
from lip2speech.models.speaker_encoder.xvector import PEAK_LEVEL
from tests.factories import synthetic_voice, tiny_speaker_encoder


def test_an_embedding_has_its_size_and_is_finite() -> None:
    vector = LTASSpeakerEncoder().embed(synthetic_voice(25, 120.0))
    assert vector.shape == (LTAS_DIM,)
    assert vector.dtype == torch.float32
    assert torch.isfinite(vector).all()


@pytest.mark.parametrize("gain", [0.01, 0.3, 2.0])
def test_an_ltas_embedding_does_not_depend_on_the_level(gain: float) -> None:
    wav = synthetic_voice(25, 150.0)
    torch.testing.assert_close(
        LTASSpeakerEncoder().embed(gain * wav), LTASSpeakerEncoder().embed(wav), rtol=0, atol=1e-3
    )


def test_pauses_hardly_change_an_ltas_embedding() -> None:
    wav = synthetic_voice(50, 150.0)
    paused = torch.cat([torch.zeros(16_000), wav, torch.zeros(16_000)])
    assert (LTASSpeakerEncoder().embed(paused) - LTASSpeakerEncoder().embed(wav)).abs().mean() < 0.02


def test_low_and_high_voices_differ_in_median_f0() -> None:
    low, high = (
        LTASSpeakerEncoder().embed(synthetic_voice(25, 100.0)),
        LTASSpeakerEncoder().embed(synthetic_voice(25, 220.0)),
    )
    assert high[-2] - low[-2] == pytest.approx(math.log2(2.2), abs=0.05)


@pytest.mark.parametrize(
    ("wav", "message"),
    [
        (torch.zeros(16_000), "audible speech, the peak is 0; record louder"),
        (torch.full((16_000,), float("nan")), "audible speech, the peak is nan"),
        (torch.ones(4_800), "0.5 s of speech, got 0.30 s"),
        (torch.zeros(0), "got 0.00 s"),
        (torch.zeros(1, 16_000), r"must be \(T_a,\) at 16000 Hz, got \(1, 16000\)"),
    ],
)
def test_a_short_silent_or_multichannel_recording_is_refused(wav: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LTASSpeakerEncoder().embed(wav)


def test_another_sample_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="at 8000 Hz"):
        check_recording(torch.ones(8_000), 8000)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_warping_the_vocal_tract_approximates_faster_playback(factor: float) -> None:
    voice, faster = (
        LTASSpeakerEncoder().embed(synthetic_voice(50, 150.0)),
        LTASSpeakerEncoder().embed(synthetic_voice(50, 150.0 * factor)),
    )
    moved = LTASSpeakerEncoder().warp_vocal_tract(voice, torch.zeros(80, 0), factor)
    torch.testing.assert_close(moved[160:], faster[160:], rtol=0, atol=math.log2(1.03))
    assert (moved[:80] - faster[:80]).abs().mean() < 0.7 * (voice[:80] - faster[:80]).abs().mean()


def test_warping_leaves_an_unvoiced_embedding_without_pitch() -> None:
    voice = torch.cat([torch.linspace(-1, 1, 160), torch.zeros(3)])
    assert not LTASSpeakerEncoder().warp_vocal_tract(voice, torch.zeros(80, 0), 1.2)[160:].any()


def test_an_external_embedding_is_read_from_a_file(tmp_path: Path) -> None:
    vector, path = np.linspace(-1, 1, 256), tmp_path / "voice.npy"
    np.save(path, vector)
    torch.testing.assert_close(read_embedding(path, 256), torch.from_numpy(vector).float())


@pytest.mark.parametrize(
    "wrong", [np.zeros(9), np.full(256, np.nan), np.arange(256), np.array([{}] * 256), b"no numpy", None]
)
def test_a_file_that_holds_no_embedding_is_refused(wrong: Any, tmp_path: Path) -> None:
    path = tmp_path / "voice.npy"
    if isinstance(wrong, bytes):
        path.write_bytes(wrong)
    elif wrong is not None:
        np.save(path, wrong)
    with pytest.raises(ValueError, match="voice.npy: not a speaker embedding of 256 dimensions"):
        read_embedding(path, 256)


@pytest.fixture(scope="module")
def encoder() -> XVectorSpeakerEncoder:
    return tiny_speaker_encoder(0)


def test_an_xvector_embedding_is_a_scaled_unit_vector_and_f0_quantiles(
    encoder: XVectorSpeakerEncoder,
) -> None:
    vector = encoder.embed(synthetic_voice(50, 150.0))
    assert vector.shape == (encoder.dim,) == (9,)
    assert vector[:6].norm() == pytest.approx(math.sqrt(6), abs=1e-4)
    torch.testing.assert_close(
        vector[6:], LTASSpeakerEncoder().embed(synthetic_voice(50, 150.0))[-3:], rtol=0, atol=1e-3
    )


def test_an_xvector_embedding_does_not_depend_on_the_level(encoder: XVectorSpeakerEncoder) -> None:
    wav = synthetic_voice(25, 150.0)
    torch.testing.assert_close(encoder.embed(0.1 * wav), encoder.embed(wav), rtol=0, atol=1e-3)


def test_warping_an_xvector_embedding_encodes_the_warped_mel(encoder: XVectorSpeakerEncoder) -> None:
    wav = synthetic_voice(50, 150.0)
    wav = wav * (PEAK_LEVEL / wav.abs().max())  # the level it is encoded at
    voice, mel = encoder.embed(wav), LogMel()(wav[None, None])[0]
    torch.testing.assert_close(encoder.warp_vocal_tract(voice, mel, 1.0), voice, rtol=0, atol=1e-4)
    moved = encoder.warp_vocal_tract(voice, mel, 1.1)
    vector = encoder.encoder(warp_mel(mel, 1.1, MelConfig())[None])[0]
    torch.testing.assert_close(moved[:6], vector * math.sqrt(6))
    torch.testing.assert_close(moved[6:], voice[6:] + math.log2(1.1))


def test_the_mean_of_xvector_embeddings_has_their_length(encoder: XVectorSpeakerEncoder) -> None:
    voices = torch.stack([encoder.embed(synthetic_voice(25, hz)) for hz in (100.0, 200.0)])
    middle = encoder.mean(voices)
    assert middle[:6].norm() == pytest.approx(math.sqrt(6), abs=1e-4)
    torch.testing.assert_close(middle[6:], voices[:, 6:].mean(0))


def test_the_fingerprint_survives_storage_as_float16(encoder: XVectorSpeakerEncoder) -> None:
    halves = {
        k: v.half().float() if v.is_floating_point() else v for k, v in encoder.encoder.state_dict().items()
    }
    same = build_speaker_encoder(to_dict(encoder.encoder.config), halves, 9)
    assert same.fingerprint == encoder.fingerprint
    assert tiny_speaker_encoder(1).fingerprint != encoder.fingerprint


def test_the_speaker_encoder_of_a_model_follows_its_config_and_size(encoder: XVectorSpeakerEncoder) -> None:
    config, weights = to_dict(encoder.encoder.config), encoder.encoder.state_dict()
    assert isinstance(build_speaker_encoder(None, {}, 163), LTASSpeakerEncoder)
    assert isinstance(build_speaker_encoder(config, weights, 9), XVectorSpeakerEncoder)
    external = build_speaker_encoder(None, {}, 256)
    with pytest.raises(
        ValueError, match="takes speaker embeddings of 256 dimensions from an external encoder"
    ):
        external.embed(synthetic_voice(25, 100.0))
    with pytest.raises(ValueError, match="embeddings have 9 dimensions, the heads take 163"):
        build_speaker_encoder(config, weights, 163)
    with pytest.raises(CheckpointError, match="the speaker encoder's config is wrong"):
        build_speaker_encoder({"chanels": 8}, weights, 9)
    with pytest.raises(CheckpointError, match="do not fit XVectorNet"):
        build_speaker_encoder(config, {}, 9)
