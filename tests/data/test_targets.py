"""Training targets of prepared clips (lip2speech/data/targets.py)."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.codecs import MelCodec
from lip2speech.data.dataset import Clip, read_clips
from lip2speech.data.targets import (
    TargetExtractor,
    check_audio,
    encode_text,
    extract_targets,
    match_length,
    mel_fingerprint,
)
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder
from tests.data.test_unit_tokenizers import make_mfcc_tokenizer
from tests.factories import CODEC, make_codec, prepare
from tests.models.hubert_golden import teacher as make_hubert_tokenizer


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return read_clips([prepare(tmp_path_factory.mktemp("targets") / "clips")], "train")


def test_every_target_has_its_number_of_steps_per_frame(clips: list[Clip]) -> None:
    for clip, targets in zip(
        clips, extract_targets(clips, TargetExtractor(make_mfcc_tokenizer(), make_codec())), strict=True
    ):
        assert targets.mel.shape == (80, 4 * clip.n_frames)
        assert targets.units is not None
        assert targets.units.shape == (2 * clip.n_frames,)
        assert targets.codes is not None
        assert targets.codes.shape == (2, 2 * clip.n_frames)
        assert targets.speaker.shape == (163,)


def test_hubert_units_have_two_steps_per_frame(clips: list[Clip]) -> None:
    targets = TargetExtractor(make_hubert_tokenizer(), None)(clips[0])
    assert targets.units is not None
    assert torch.equal(targets.units, make_hubert_tokenizer()(clips[0].wav()))
    assert targets.units.shape == (2 * clips[0].n_frames,)


def test_targets_are_extracted_from_the_audio_of_the_clip(clips: list[Clip]) -> None:
    codec = make_codec()
    targets = TargetExtractor(None, codec)(clips[0])
    wav = clips[0].wav()
    torch.testing.assert_close(targets.mel.float(), LogMel()(wav[None, None])[0], rtol=0, atol=0.01)
    assert targets.codes is not None
    assert targets.units is None
    assert torch.equal(targets.codes, codec.encode(wav[None, None])[0])
    assert torch.equal(targets.speaker, LTASSpeakerEncoder().embed(wav))


@pytest.mark.parametrize("frames", [13, 16])
def test_a_clip_with_inconsistent_lengths_is_rejected(clips: list[Clip], frames: int) -> None:
    with pytest.raises(ValueError, match=f"clip0: 14 crops and 8960 samples, expected {frames} and"):
        TargetExtractor(None, None)(replace(clips[0], n_frames=frames))


def test_a_silent_clip_is_rejected_by_its_id(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = prepare(tmp_path / "clips", splits="train")
    tensors = {"roi": torch.zeros(14, 96, 96, dtype=torch.uint8), "wav": torch.zeros(8960, dtype=torch.int16)}
    save_file(tensors, folder / "clips" / "clip0.safetensors")
    with pytest.raises(ValueError, match="clip0: a voice needs audible speech"):
        TargetExtractor(None, None)(read_clips([folder], "train")[0])


def test_a_codec_at_another_sample_rate_is_rejected() -> None:
    codec: MelCodec = make_codec(CODEC)
    codec.sample_rate = 24_000
    with pytest.raises(ValueError, match="clips are at 16000 Hz, the codec is at 24000 Hz"):
        TargetExtractor(None, codec)


def test_characters_are_ids_from_1_on_and_others_are_dropped() -> None:
    assert encode_text("Ab z, it's 4!").tolist() == [1, 2, 28, 26, 28, 9, 20, 27, 19, 28]
    assert encode_text("").tolist() == []


@pytest.mark.parametrize("n_samples", [0, 1, 1279, 1280, 1281, 2000])
def test_audio_is_truncated_or_padded_to_640_samples_per_frame(n_samples: int) -> None:
    fitted = match_length(torch.ones(n_samples), 2)
    assert fitted.shape == (1280,)
    assert fitted.sum() == min(n_samples, 1280)
    assert fitted[: min(n_samples, 1280)].all()


@pytest.mark.parametrize(
    ("wav", "message"),
    [
        (torch.zeros(16000), "silent"),
        (torch.full((16000,), torch.nan), "NaN or infinite"),
        (torch.ones(8000), "lasts 0.50 s and the video 1.00 s"),
        (torch.ones(24000), "lasts 1.50 s and the video 1.00 s"),
    ],
)
def test_audio_that_cannot_be_a_target_is_rejected(wav: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_audio(wav, 25)


def store(clip: Clip, stamps: dict[str, str], **targets: torch.Tensor) -> None:
    from safetensors.torch import save_file

    save_file(clip.tensors() | targets, clip.path(), stamps)


def test_precomputed_targets_are_used_only_if_their_fingerprint_matches(tmp_path: Path) -> None:
    clip = read_clips([prepare(tmp_path / "clips", splits="train")], "train")[0]
    extractor = TargetExtractor(make_mfcc_tokenizer(), make_codec())
    made = extractor(clip)
    marked = {
        "mel": torch.full((80, 4 * clip.n_frames), 0.5).half(),
        "units": torch.full((2 * clip.n_frames,), 3),
        "codes": torch.full((2, 2 * clip.n_frames), 7),
        "speaker": torch.full((163,), 0.25),
    }
    store(clip, extractor.fingerprints, **marked)
    held = extractor(clip)
    assert all(torch.equal(getattr(held, name), marked[name]) for name in marked)
    store(clip, dict.fromkeys(marked, "another teacher's"), **marked)
    again = extractor(clip)
    for name in marked:
        assert torch.equal(getattr(again, name), getattr(made, name)), name


def test_precomputed_targets_of_another_length_are_rejected(tmp_path: Path) -> None:
    clip = read_clips([prepare(tmp_path / "clips", splits="train")], "train")[0]
    extractor = TargetExtractor(make_mfcc_tokenizer(), None)
    store(clip, extractor.fingerprints, units=torch.zeros(27, dtype=torch.int64))
    with pytest.raises(ValueError, match="clip0: its units have 27 steps, expected 28; prepare the clip"):
        extractor(clip)


def test_every_tokenizer_has_a_different_fingerprint() -> None:
    extractors = [
        TargetExtractor(t, None)
        for t in (make_mfcc_tokenizer(), make_mfcc_tokenizer(6), make_hubert_tokenizer())
    ]
    assert len({extractor.fingerprints["units"] for extractor in extractors}) == 3
    assert TargetExtractor(make_mfcc_tokenizer(), None).fingerprints == extractors[0].fingerprints
    assert mel_fingerprint(MelConfig()) != mel_fingerprint(MelConfig(n_mels=81))
