"""Audio files against reference files (lip2speech/evaluation/files.py)."""

from pathlib import Path

import numpy as np
import pytest

from lip2speech.audio.io import write_wav
from lip2speech.evaluation.files import ROW, evaluate_files, match_files
from lip2speech.evaluation.metrics.registry import MetricsConfig
from tests.evaluation.metrics.signals import noise_bursts

DELAY_SAMPLES = 800


def delayed(seed: int) -> np.ndarray:
    return np.roll(noise_bursts(seed), DELAY_SAMPLES)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two clips, one in a subfolder; the hypotheses are delayed by 50 ms, and one is 0.2 s shorter."""
    ref, hyp = tmp_path / "ref", tmp_path / "hyp"
    for seed, name in enumerate(("a", "sub/b")):
        for folder in (ref, hyp):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(ref / f"{name}.wav", noise_bursts(seed))
        write_wav(hyp / f"{name}.wav", delayed(seed)[: 32000 - 3200 * seed])
    (ref / "a.txt").write_text("bin blue at f two now\n")
    return ref, hyp


def test_folders_are_matched_by_name_and_a_delay_is_measured(folders: tuple[Path, Path]) -> None:
    ids: list[str] = []
    config = MetricsConfig(("mel", "si_sdr", "offset"))
    (row,) = evaluate_files(*folders, config, on_clip=lambda id, *_: ids.append(id)).rows
    assert (row.name, row.n, ids) == (ROW, 2, ["a", "sub/b"])
    assert row["envelope_offset_ms"].mean == 50 == row["mel_offset_ms"].mean
    assert [score.text for score in row.scores] == ["bin blue at f two now", ""]


def test_a_pair_of_unequal_lengths_is_noted(folders: tuple[Path, Path]) -> None:
    report = evaluate_files(*folders, MetricsConfig(("mel",)))
    assert report.notes == ("1 files differ from their reference by more than 0.1 s.",)


def test_two_files_are_one_pair_named_after_the_reference(folders: tuple[Path, Path], tmp_path: Path) -> None:
    write_wav(tmp_path / "other.wav", 0.5 * delayed(0))
    (row,) = evaluate_files(
        folders[0] / "a.wav", tmp_path / "other.wav", MetricsConfig(("mel", "offset", "wer"))
    ).rows
    (score,) = row.scores
    assert (score.id, score.text) == ("a", "bin blue at f two now")
    assert score.envelope_offset_ms == 50
    assert 0.2 < score.mel_l1 < 3
    assert row["wer"].mean == 1  # noise has no words


def test_reference_and_hypothesis_are_not_interchangeable(folders: tuple[Path, Path]) -> None:
    ref, hyp = (folder / "a.wav" for folder in folders)
    config = MetricsConfig(("offset",))
    assert evaluate_files(ref, hyp, config).rows[0]["envelope_offset_ms"].mean == 50
    assert evaluate_files(hyp, ref, config).rows[0]["envelope_offset_ms"].mean == -50


def test_the_fingerprint_depends_on_the_audio(folders: tuple[Path, Path]) -> None:
    config = MetricsConfig(("mel",))
    same = [evaluate_files(*folders, config).fingerprint for _ in range(2)]
    assert same[0] == same[1] != evaluate_files(folders[0], folders[0], config).fingerprint


def test_a_limit_takes_evenly_spaced_pairs(folders: tuple[Path, Path]) -> None:
    assert evaluate_files(*folders, MetricsConfig(("mel",)), limit=1).rows[0].n == 1


def test_a_missing_counterpart_is_named(folders: tuple[Path, Path]) -> None:
    ref, hyp = folders
    (hyp / "a.wav").unlink()
    with pytest.raises(ValueError, match=r"a is not in .*hyp \(1 of 2 have no counterpart\)"):
        match_files(ref, hyp)


def test_a_file_and_a_folder_are_no_pair(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="two files or two folders"):
        match_files(folders[0], folders[0] / "a.wav")


def test_a_missing_path_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        match_files(folders[0], tmp_path / "nothing")


def test_two_files_that_differ_in_suffix_only_are_refused(folders: tuple[Path, Path]) -> None:
    (folders[0] / "a.flac").touch()
    with pytest.raises(ValueError, match="differ in suffix only"):
        match_files(folders[0], folders[0])


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no audio files in it"):
        match_files(tmp_path, tmp_path)


def test_speed_cannot_be_measured_on_files(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="speed cannot be measured on files"):
        evaluate_files(*folders, MetricsConfig(("speed",)))
