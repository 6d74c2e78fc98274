"""One real clip: its crops, audio and targets, or the reason why it is rejected."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lip2speech.audio.io import read_wav, write_wav
from lip2speech.data.dataset import Clip, read_fingerprints
from lip2speech.data.targets import TargetExtractor
from lip2speech.data.utterance import Utterance
from lip2speech.video import MediaError
from preprocess.clip import (
    ClipProcessor,
    ClipTask,
    UnusableClipError,
    content_hash,
    frame_range,
    prepare_clip,
    to_int16,
)
from preprocess.targets_config import LTAS, TargetsConfig, config_fingerprint, load_extractor
from tests.factories import save_codec, save_speaker_encoder
from tests.preprocess.trees import FRAMES, tone


def utterance(video: Path, wav: Path | None = None, **changes: float) -> Utterance:
    return Utterance("a", video, wav, "bin blue", "drawn", "test", **changes)


def test_samples_out_of_range_are_clipped() -> None:
    samples = to_int16(torch.tensor([1.5, -1.5, 1.0, -1.0, 0.5]))
    assert samples.tolist() == [32767, -32768, 32767, -32768, 16384]


def test_a_clip_becomes_crops_and_audio_of_the_same_length(talk: Path, tmp_path: Path) -> None:
    wav = tone(FRAMES - 1)
    write_wav(tmp_path / "a.wav", wav)
    row = prepare_clip(utterance(talk, tmp_path / "a.wav"), tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    assert (row.status, row.split, row.text, row.n_frames) == ("done", "test", "bin blue", FRAMES)
    assert tensors["roi"].shape == (FRAMES, 96, 96)
    assert tensors["roi"].dtype == torch.uint8
    assert tensors["wav"].shape == (640 * FRAMES,)
    assert tensors["wav"].dtype == torch.int16
    np.testing.assert_allclose(tensors["wav"][: len(wav)] / 32768, wav, atol=1e-4)
    assert not tensors["wav"][len(wav) :].any()
    assert row.face_detection_rate > 0.9


def test_a_segment_of_a_video_has_its_frames_and_samples(talk: Path, tmp_path: Path) -> None:
    segment = utterance(talk, start_s=0.21, end_s=0.79)
    assert frame_range(segment) == (5, 20)
    row = prepare_clip(segment, tmp_path / "segment.safetensors")
    prepare_clip(utterance(talk), tmp_path / "whole.safetensors")
    tensors, whole = (load_file(tmp_path / f"{name}.safetensors") for name in ("segment", "whole"))
    assert row.n_frames == 15
    assert torch.equal(tensors["wav"], whole["wav"][5 * 640 : 20 * 640])
    # The scale is smoothed over other frames; the mouth stays where it is.
    apart = [
        float((tensors["roi"].float() - whole["roi"][at : at + 15].float()).abs().mean()) for at in (5, 0)
    ]
    assert apart[0] < 6
    assert apart[0] < apart[1]


@pytest.mark.parametrize("what", ["short", "silent", "long"])
def test_an_unusable_clip_is_skipped_with_a_reason(talk: Path, tmp_path: Path, what: str) -> None:
    audio = tone(FRAMES) * (what != "silent")
    write_wav(tmp_path / "a.wav", np.tile(audio, 2) if what == "long" else audio)
    end = {"end_s": 0.3} if what == "short" else {}
    task = ClipTask(utterance(talk, tmp_path / "a.wav", **end), tmp_path / "out" / "a.safetensors")
    row = ClipProcessor()(task)
    reasons = {
        "short": "8 frames, expected at least 13",
        "silent": "silent from start",
        "long": "lasts 2.40 s",
    }
    assert row.status == "skipped"
    assert reasons[what] in row.reason
    assert row.reason.startswith("UnusableClipError")
    assert not task.path.parent.exists()
    assert ClipProcessor()(replace(task, previous_row=row)) is row


def test_an_unreadable_clip_fails(talk: Path, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    for video in (tmp_path / "bad.mp4", tmp_path / "none.mp4", clip):  # the last has no audio
        row = ClipProcessor()(ClipTask(utterance(video), tmp_path / "out" / "a.safetensors"))
        assert row.status == "failed"
        assert row.reason.startswith("MediaError"), row.reason
    with pytest.raises(MediaError):
        prepare_clip(utterance(tmp_path / "bad.mp4"), tmp_path / "out" / "a.safetensors")
    with pytest.raises(UnusableClipError):
        prepare_clip(utterance(talk, end_s=0.2), tmp_path / "out" / "a.safetensors")
    assert not (tmp_path / "out").exists()


def test_a_clip_is_kept_while_its_bytes_and_the_config_are_the_same(talk: Path, tmp_path: Path) -> None:
    video, path = tmp_path / "a.mp4", tmp_path / "out" / "a.safetensors"
    video.write_bytes(talk.read_bytes())
    task = ClipTask(utterance(video), path)
    row = ClipProcessor()(task)
    assert (row.status, len(row.source_hash), len(row.config_hash)) == ("done", 32, 16)
    processed = replace(task, previous_row=row)
    assert ClipProcessor()(processed) is row
    assert ClipProcessor(TargetsConfig(mel=True))(processed).config_hash != row.config_hash
    assert ClipProcessor()(replace(processed, utterance=utterance(video, end_s=0.8))).n_frames == 20
    with video.open("ab") as file:
        file.write(b"\0")
    assert ClipProcessor()(processed).source_hash != row.source_hash


def test_the_hash_depends_on_the_content_only(talk: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(talk.read_bytes())
    assert content_hash(utterance(talk)) == content_hash(replace(utterance(other), text="else", id="b"))
    assert content_hash(utterance(talk)) != content_hash(utterance(talk, talk))


def test_targets_are_stored_with_the_fingerprints_of_their_extractors(talk: Path, tmp_path: Path) -> None:
    config = TargetsConfig(mel=True, codec=str(save_codec(tmp_path / "codec")), speaker_encoder=LTAS)
    (tmp_path / "clips").mkdir()
    row = prepare_clip(utterance(talk), tmp_path / "clips" / "a.safetensors", config)
    clip = Clip(tmp_path, "a", "test", "drawn", "bin blue", row.n_frames)
    extractor = load_extractor(config)
    assert clip.fingerprints() == {name: extractor.fingerprints[name] for name in ("mel", "codes", "speaker")}
    made = extractor.extract("codes", clip.wav())
    assert torch.equal(clip.tensors()["codes"], made)
    assert made.shape == (2, 2 * FRAMES)
    with (tmp_path / "clips" / "a.safetensors").open("rb") as file:
        assert read_fingerprints(file) == clip.fingerprints()
    assert read_wav(talk).shape[0] >= clip.wav().shape[0] - 640
    targets = TargetExtractor(None, extractor.codec)(clip)
    assert targets.codes is not None
    assert torch.equal(targets.codes, made)


def test_different_extractors_give_different_config_fingerprints(tmp_path: Path) -> None:
    configs = [TargetsConfig(), TargetsConfig(mel=True), TargetsConfig(speaker_encoder=LTAS)]
    configs += [
        TargetsConfig(speaker_encoder=str(save_speaker_encoder(tmp_path / str(seed), seed)))
        for seed in (0, 1)
    ]
    assert len({config_fingerprint(config) for config in configs}) == 5
    same = TargetsConfig(speaker_encoder=str(save_speaker_encoder(tmp_path / "same", 1)))
    assert config_fingerprint(same) == config_fingerprint(configs[-1])
