"""One real clip through the door: its crops, its sound and its targets, or the reason why not."""

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
    UnusableClip,
    content_hash,
    frame_range,
    prepare_clip,
    to_int16,
)
from preprocess.targets_config import LTAS, TargetsConfig, config_fingerprint, load_extractor
from tests.factories import save_codec, save_speaker_encoder
from tests.preprocess.trees import FRAMES, voice


def utterance(video: Path, wav: Path | None = None, **changes: float) -> Utterance:
    return Utterance("a", video, wav, "bin blue", "drawn", "test", **changes)


def test_loud_samples_are_clipped_not_wrapped() -> None:
    samples = to_int16(torch.tensor([1.5, -1.5, 1.0, -1.0, 0.5]))
    assert samples.tolist() == [32767, -32768, 32767, -32768, 16384]


def test_a_clip_becomes_crops_and_equally_long_sound(talk: Path, tmp_path: Path) -> None:
    spoken = voice(FRAMES - 1)
    write_wav(tmp_path / "a.wav", spoken)
    row = prepare_clip(utterance(talk, tmp_path / "a.wav"), tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    assert (row.status, row.split, row.text, row.n_frames) == ("done", "test", "bin blue", FRAMES)
    assert tensors["roi"].shape == (FRAMES, 96, 96) and tensors["roi"].dtype == torch.uint8
    assert tensors["wav"].shape == (640 * FRAMES,) and tensors["wav"].dtype == torch.int16
    np.testing.assert_allclose(tensors["wav"][: len(spoken)] / 32768, spoken, atol=1e-4)
    assert not tensors["wav"][len(spoken) :].any()
    assert row.face_detection_rate > 0.9


def test_a_part_of_a_video_has_its_own_frames_and_samples(talk: Path, tmp_path: Path) -> None:
    part = utterance(talk, start_s=0.21, end_s=0.79)
    assert frame_range(part) == (5, 20)
    row = prepare_clip(part, tmp_path / "part.safetensors")
    prepare_clip(utterance(talk), tmp_path / "whole.safetensors")
    tensors, whole = (load_file(tmp_path / f"{name}.safetensors") for name in ("part", "whole"))
    assert row.n_frames == 15
    assert torch.equal(tensors["wav"], whole["wav"][5 * 640 : 20 * 640])
    # The neighbours that smooth a crop's scale are other ones; the mouth stays where it is.
    apart = [
        float((tensors["roi"].float() - whole["roi"][at : at + 15].float()).abs().mean()) for at in (5, 0)
    ]
    assert apart[0] < 6 and apart[0] < apart[1]


@pytest.mark.parametrize("what", ["short", "silent", "long"])
def test_a_clip_that_can_teach_nothing_is_skipped_with_its_reason(
    talk: Path, tmp_path: Path, what: str
) -> None:
    sound = voice(FRAMES) * (what != "silent")
    write_wav(tmp_path / "a.wav", np.tile(sound, 2) if what == "long" else sound)
    end = {"end_s": 0.3} if what == "short" else {}
    work = ClipTask(utterance(talk, tmp_path / "a.wav", **end), tmp_path / "out" / "a.safetensors")
    row = ClipProcessor()(work)
    reasons = {"short": "8 frames, expected 13", "silent": "silent from end", "long": "lasts 2.40 s"}
    assert row.status == "skipped" and reasons[what] in row.reason and row.reason.startswith("UnusableClip")
    assert not work.path.parent.exists()
    assert ClipProcessor()(replace(work, known=row)) is row


def test_a_clip_that_cannot_be_read_has_failed(talk: Path, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    for video in (tmp_path / "bad.mp4", tmp_path / "none.mp4", clip):  # the last has no sound
        row = ClipProcessor()(ClipTask(utterance(video), tmp_path / "out" / "a.safetensors"))
        assert row.status == "failed" and row.reason.startswith("MediaError"), row.reason
    with pytest.raises(MediaError):
        prepare_clip(utterance(tmp_path / "bad.mp4"), tmp_path / "out" / "a.safetensors")
    with pytest.raises(UnusableClip):
        prepare_clip(utterance(talk, end_s=0.2), tmp_path / "out" / "a.safetensors")
    assert not (tmp_path / "out").exists()


def test_a_clip_is_kept_while_its_bytes_and_its_recipe_are_the_same(talk: Path, tmp_path: Path) -> None:
    video, path = tmp_path / "a.mp4", tmp_path / "out" / "a.safetensors"
    video.write_bytes(talk.read_bytes())
    work = ClipTask(utterance(video), path)
    row = ClipProcessor()(work)
    assert (row.status, len(row.source), len(row.recipe)) == ("done", 32, 16)
    known = replace(work, known=row)
    assert ClipProcessor()(known) is row
    assert ClipProcessor(TargetsConfig(mel=True))(known).recipe != row.recipe
    assert ClipProcessor()(replace(known, utterance=utterance(video, end_s=0.8))).n_frames == 20
    with video.open("ab") as file:
        file.write(b"\0")
    assert ClipProcessor()(known).source != row.source


def test_the_hash_is_of_the_content_alone(talk: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(talk.read_bytes())
    assert content_hash(utterance(talk)) == content_hash(replace(utterance(other), text="else", id="b"))
    assert content_hash(utterance(talk)) != content_hash(utterance(talk, talk))


def test_targets_are_stored_with_the_stamps_of_their_teachers(talk: Path, tmp_path: Path) -> None:
    recipe = TargetsConfig(mel=True, codec=str(save_codec(tmp_path / "codec")), speaker=LTAS)
    (tmp_path / "clips").mkdir()
    row = prepare_clip(utterance(talk), tmp_path / "clips" / "a.safetensors", recipe)
    clip = Clip(tmp_path, "a", "test", "drawn", "bin blue", row.n_frames)
    maker = load_extractor(recipe)
    assert clip.fingerprints() == {name: maker.fingerprints[name] for name in ("mel", "codes", "speaker")}
    made = maker.extract("codes", clip.wav())
    assert torch.equal(clip.tensors()["codes"], made) and made.shape == (2, 2 * FRAMES)
    with (tmp_path / "clips" / "a.safetensors").open("rb") as file:
        assert read_fingerprints(file) == clip.fingerprints()
    assert read_wav(talk).shape[0] >= clip.wav().shape[0] - 640
    targets = TargetExtractor(None, maker.codec)(clip)
    assert targets.codes is not None and torch.equal(targets.codes, made)


def test_another_teacher_is_another_recipe(tmp_path: Path) -> None:
    recipes = [TargetsConfig(), TargetsConfig(mel=True), TargetsConfig(speaker=LTAS)]
    recipes += [TargetsConfig(speaker=str(save_speaker_encoder(tmp_path / str(seed), seed))) for seed in (0, 1)]
    assert len({config_fingerprint(recipe) for recipe in recipes}) == 5
    same = TargetsConfig(speaker=str(save_speaker_encoder(tmp_path / "same", 1)))
    assert config_fingerprint(same) == config_fingerprint(recipes[-1])
