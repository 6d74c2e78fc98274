"""Files beside files: how they are matched, what is refused, the figures of the same and of the late."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lip2speech.audio.io import write_wav
from lip2speech.evaluation.files import ROW, evaluate_files, match_files
from lip2speech.evaluation.scorer import ScoredPair, score, similarity
from lip2speech.models.speaker_encoder.xvector import XVectorNet

QUICK = ("mel", "sisdr", "offset")


def bursts(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    envelope = np.repeat(rng.uniform(0, 1, 40) ** 3, 800)
    return (0.2 * envelope * rng.standard_normal(32000)).astype(np.float32)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two clips, one in a sub-folder; the speech is 50 ms late, one of them 0.2 s too short."""
    ref, hyp = tmp_path / "ref", tmp_path / "hyp"
    for seed, name in enumerate(("a", "sub/b")):
        for folder in (ref, hyp):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(ref / f"{name}.wav", bursts(seed))
        write_wav(hyp / f"{name}.wav", np.roll(bursts(seed), 800)[: 32000 - 3200 * seed])
    (ref / "a.txt").write_text("bin blue at f two now\n")
    return ref, hyp


def test_folders_are_matched_by_name_and_a_late_sound_is_late(folders: tuple[Path, Path]) -> None:
    seen: list[str] = []
    report = evaluate_files(*folders, measure=QUICK, show=lambda id, *_: seen.append(id))
    (row,) = report.rows
    assert (row.name, row.n, seen) == (ROW, 2, ["a", "sub/b"])
    assert row["offset_ms"].mean == 50 == row["lag_ms"].mean
    assert report.notes == ("1 sounds are more than 0.1 s longer or shorter than their reference.",)
    assert [s.text for s in row.scores] == ["bin blue at f two now", ""]
    assert report.fingerprint != evaluate_files(folders[0], folders[0], measure=("mel",)).fingerprint


def test_two_files_are_one_pair(folders: tuple[Path, Path]) -> None:
    a = folders[0] / "a.wav"
    (row,) = evaluate_files(a, a, measure=("mel", "wer")).rows
    assert row["mel_l1"] == (0, 0, 0) and row["wer"].mean == 1  # noise says no words


def test_what_does_not_match_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    ref, hyp = folders
    (hyp / "a.wav").unlink()
    with pytest.raises(ValueError, match=r"a is not in .*hyp \(1 of 2 have no other half\)"):
        match_files(ref, hyp)
    with pytest.raises(ValueError, match="two files or two folders"):
        match_files(ref, ref / "a.wav")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        match_files(ref, tmp_path / "nothing")
    (ref / "a.flac").touch()
    with pytest.raises(ValueError, match="are of one name"):
        match_files(ref, ref)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no sound files"):
        match_files(tmp_path / "empty", tmp_path / "empty")


def test_the_speed_of_files_is_unknown(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="speed is of a model that speaks"):
        evaluate_files(*folders, measure=("speed",))


def test_speed_is_computing_by_sound() -> None:
    one = score(ScoredPair("a", bursts(0), bursts(0), seconds=0.5, late_ms=300), ("speed",))
    assert (one.rtf, one.latency_ms) == (0.25, 300)


def test_a_judge_finds_a_voice_like_itself_and_silence_like_nobody() -> None:
    torch.manual_seed(0)
    judge = XVectorNet().eval()
    wav, silence = bursts(0), np.zeros(32000, np.float32)
    assert similarity(judge, wav, wav) == pytest.approx(1, abs=1e-5)
    assert similarity(judge, wav, silence) == 0
    assert np.isnan(similarity(judge, silence, wav))
    assert np.isnan(similarity(judge, wav[:4000], wav[:4000]))
