"""Names are settled before work starts: every way to lose a file is refused."""

import os
from pathlib import Path

import pytest

from lip2speech.cli._errors import UsageError
from lip2speech.cli._paths import OutputOptions, plan_jobs


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mp4"
    path.write_bytes(b"video")
    return path


def outputs(
    videos: list[Path], output: Path | None = None, suffix: str | None = None, **switches: bool
) -> list[str]:
    jobs = plan_jobs(videos, OutputOptions(output, suffix, **switches))
    return [os.path.relpath(job.output, videos[0].parent) + (" mux" if job.mux else "") for job in jobs]


def make(folder: Path, *names: str) -> list[Path]:
    """Files of that name below `folder`."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"video")
    return [folder / name for name in names]


def test_the_default_is_beside_the_input(talk: Path) -> None:
    assert outputs([talk]) == ["talk.wav"]
    assert outputs([talk], mux=True) == ["talk.speech.mp4 mux"]


def test_the_suffix_of_the_output_decides(talk: Path, tmp_path: Path) -> None:
    assert outputs([talk], tmp_path / "a.wav") == ["a.wav"]
    assert outputs([talk], tmp_path / "a.mp4") == ["a.mp4 mux"]
    for name in ("a.mp3", "a.FLAC", "a.ogg", "a.m4a"):
        assert outputs([talk], tmp_path / name) == [name]
    assert outputs([talk], tmp_path / "new") == ["new/talk.wav"]
    assert outputs([talk], tmp_path / "new", mux=True) == ["new/talk.speech.mp4 mux"]


def test_a_folder_whose_name_ends_in_wav_is_a_folder(talk: Path, tmp_path: Path) -> None:
    (tmp_path / "x.wav").mkdir()
    assert outputs([talk], tmp_path / "x.wav") == ["x.wav/talk.wav"]


def test_a_folder_gives_its_videos_by_name(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MOV", "note.txt", ".hidden.mp4", "a.speech.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "c.mp4").mkdir()
    jobs = plan_jobs([tmp_path], OutputOptions())
    assert [job.video.name for job in jobs] == ["a.MOV", "b.mp4"]


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no videos in this folder"):
        plan_jobs([tmp_path], OutputOptions())


def test_a_missing_input_is_left_to_the_work(tmp_path: Path) -> None:
    assert len(plan_jobs([tmp_path / "none.mp4"], OutputOptions())) == 1


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


def test_existing_outputs_may_be_skipped_but_not_replaced_as_well(talk: Path, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(b"dear")
    new = tmp_path / "new.mp4"
    with pytest.raises(UsageError, match="or --skip-existing to convert the rest"):
        outputs([talk, new])
    assert outputs([talk, new], skip_existing=True) == ["talk.wav", "new.wav"]
    with pytest.raises(UsageError, match="exclude each other"):
        outputs([talk], skip_existing=True, overwrite=True)


def test_a_format_is_of_the_audio_files_in_a_folder(talk: Path, tmp_path: Path) -> None:
    assert outputs([talk], suffix=".mp3") == ["talk.mp3"]
    assert outputs([talk], tmp_path / "new", ".flac") == ["new/talk.flac"]
    assert outputs([talk], tmp_path / "a.ogg", ".ogg") == ["a.ogg"]
    with pytest.raises(UsageError, match="does not end in --format mp3"):
        outputs([talk], tmp_path / "a.wav", ".mp3")
    with pytest.raises(UsageError, match="--mux writes videos"):
        outputs([talk], suffix=".mp3", mux=True)


def test_an_unknown_ending_is_refused_with_the_known_ones(talk: Path, tmp_path: Path) -> None:
    for name in ("y.wma", "y.aac", "y.txt"):
        with pytest.raises(UsageError, match=r"ends in none of \.wav \.flac \.mp3 \.ogg \.m4a \.mp4 "):
            outputs([talk], tmp_path / name)
    (tmp_path / "v1.2").mkdir()
    assert outputs([talk], tmp_path / "v1.2") == ["v1.2/talk.wav"]


def test_the_tree_of_a_folder_is_mirrored(tmp_path: Path) -> None:
    make(tmp_path, "grid/s1/x.mp4", "grid/s2/x.mp4", "grid/y.mp4", "grid/.trash/x.mp4", "a/b/x.mp4")
    folder = tmp_path / "grid"
    assert outputs([folder], tmp_path / "out") == ["out/s1/x.wav", "out/s2/x.wav", "out/y.wav"]
    assert outputs([folder]) == ["grid/s1/x.wav", "grid/s2/x.wav", "grid/y.wav"]
    assert outputs([folder / "s1"], tmp_path / "out") == ["../out/x.wav"]
    assert outputs([folder / "s1", folder / "s2"], tmp_path / "out") == ["../out/s1/x.wav", "../out/s2/x.wav"]
    outside = [folder / "s1" / ".." / "s2", tmp_path / "a" / "b"]
    assert [job.output for job in plan_jobs(outside, OutputOptions(tmp_path / "out"))] == [
        tmp_path / "out/grid/s2/x.wav", tmp_path / "out/a/b/x.wav",
    ]  # fmt: skip


def test_files_of_one_name_in_two_folders_do_not_collide(tmp_path: Path) -> None:
    same = make(tmp_path, "s1/x.mp4", "s2/x.mp4")
    other = make(tmp_path, "s1/a.mp4", "s2/b.mp4")
    assert outputs(same, tmp_path / "out", mux=True) == [
        "../out/s1/x.speech.mp4 mux", "../out/s2/x.speech.mp4 mux",
    ]  # fmt: skip
    assert outputs(other, tmp_path / "out") == ["../out/a.wav", "../out/b.wav"]


def test_an_output_that_is_no_plain_file_is_refused(talk: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(UsageError, match="no plain file"):
        outputs([talk], tmp_path / "pipe.wav", overwrite=True)
