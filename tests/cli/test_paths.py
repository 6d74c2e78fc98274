"""Names are settled before work starts: every way to lose a file is refused."""

import os
from pathlib import Path

import pytest

from lip2speech.cli._errors import UsageError
from lip2speech.cli._paths import plan_jobs


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mp4"
    path.write_bytes(b"video")
    return path


def outputs(
    videos: list[Path], output: Path | None = None, *, mux: bool = False, overwrite: bool = False
) -> list[str]:
    jobs = plan_jobs(videos, output, mux=mux, overwrite=overwrite)
    return [os.path.relpath(job.output, videos[0].parent) + (" mux" if job.mux else "") for job in jobs]


def test_the_default_is_beside_the_input(talk: Path) -> None:
    assert outputs([talk]) == ["talk.wav"]
    assert outputs([talk], mux=True) == ["talk.speech.mp4 mux"]


def test_the_suffix_of_the_output_decides(talk: Path, tmp_path: Path) -> None:
    assert outputs([talk], tmp_path / "a.wav") == ["a.wav"]
    assert outputs([talk], tmp_path / "a.mp4") == ["a.mp4 mux"]
    assert outputs([talk], tmp_path / "new") == ["new/talk.wav"]
    assert outputs([talk], tmp_path / "new", mux=True) == ["new/talk.speech.mp4 mux"]


def test_a_folder_whose_name_ends_in_wav_is_a_folder(talk: Path, tmp_path: Path) -> None:
    (tmp_path / "x.wav").mkdir()
    assert outputs([talk], tmp_path / "x.wav") == ["x.wav/talk.wav"]


def test_a_folder_gives_its_videos_by_name(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MOV", "note.txt", ".hidden.mp4", "a.speech.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "c.mp4").mkdir()
    jobs = plan_jobs([tmp_path], None, mux=False, overwrite=False)
    assert [job.video.name for job in jobs] == ["a.MOV", "b.mp4"]


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no videos in this folder"):
        plan_jobs([tmp_path], None, mux=False, overwrite=False)


def test_a_missing_input_is_left_to_the_work(tmp_path: Path) -> None:
    assert len(plan_jobs([tmp_path / "none.mp4"], None, mux=False, overwrite=False)) == 1


def test_two_inputs_with_one_output_are_refused(talk: Path, tmp_path: Path) -> None:
    other = talk.with_suffix(".mov")
    other.write_bytes(b"x")
    with pytest.raises(UsageError, match=r"talk\.mp4 and .*talk\.mov would both be written to"):
        outputs([talk, other], tmp_path / "out")
    with pytest.raises(UsageError, match="would both be written"):
        outputs([talk, talk])


def test_several_inputs_need_a_folder(talk: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 inputs need a folder"):
        outputs([talk, tmp_path / "b.mp4"], tmp_path / "a.wav")


def test_mux_into_a_wav_and_an_unknown_suffix_are_refused(talk: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--mux writes a video"):
        outputs([talk], tmp_path / "a.wav", mux=True)
    (tmp_path / "a.xyz").write_bytes(b"x")
    with pytest.raises(UsageError, match="its name ends in none of"):
        outputs([talk], tmp_path / "a.xyz")


@pytest.mark.parametrize("link", ["same", "symbolic", "hard"])
def test_an_output_that_is_an_input_is_refused(talk: Path, tmp_path: Path, link: str) -> None:
    output = talk
    if link != "same":
        output = tmp_path / "other.mp4"
        (output.symlink_to if link == "symbolic" else output.hardlink_to)(talk)
    with pytest.raises(UsageError, match="is an input too"):
        outputs([talk], output, overwrite=True)


def test_an_existing_output_needs_overwrite(talk: Path) -> None:
    talk.with_suffix(".wav").write_bytes(b"dear")
    with pytest.raises(UsageError, match=r"talk\.wav: already exists; pass --overwrite"):
        outputs([talk])
    assert outputs([talk], overwrite=True) == ["talk.wav"]


def test_an_output_that_is_no_plain_file_is_refused(talk: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(UsageError, match="no plain file"):
        outputs([talk], tmp_path / "pipe.wav", overwrite=True)
