"""`python -m preprocess`: exit codes, error messages and progress; and the `folder` corpus."""

from pathlib import Path

import pytest

from lip2speech.data.utterance import RejectedClip, Utterance
from preprocess import folder
from preprocess.__main__ import Corpus, Executor, Format, app
from preprocess.executors import EXECUTORS
from preprocess.index import IndexRow, read_index
from preprocess.job import CORPORA
from preprocess.report import report_rows
from preprocess.storage import STORES


def run(root: Path, out: Path, *options: str, corpus: str = "folder") -> int:
    """Exit code of the command."""
    with pytest.raises(SystemExit) as end:
        app([corpus, "--root", str(root), "--out", str(out), "--workers", "0", *options])
    assert isinstance(end.value.code, int)
    return end.value.code


def test_the_options_offer_every_corpus_format_and_executor() -> None:
    assert {choice.value for choice in Corpus} == set(CORPORA)
    assert {choice.value for choice in Format} == set(STORES)
    assert {choice.value for choice in Executor} == set(EXECUTORS)


@pytest.mark.parametrize("corpus", sorted(CORPORA))
def test_a_missing_root_is_one_line(corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "none", tmp_path / "out", corpus=corpus) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "none: no such folder" in lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ["--num-shards", "2", "--shard-index", "2"],
            2,
            "--shard-index must be below --num-shards, got 2 and 2",
        ),
        (["--num-shards", "0"], 2, "--num-shards"),
        (["--workers", "-1"], 2, "--workers"),
        (["--timeout", "0"], 2, "--timeout must be above 0"),
        (["--units", "none"], 5, "none: no such checkpoint folder"),
        (["--executor-option", "x"], 2, "KEY=VALUE"),
        (["--executor-option", "x=1"], 2, "local executor takes no option"),
        (["--filelist", "none.txt"], 2, "none.txt"),
    ],
)
def test_a_wrong_option_is_an_error_before_anything_is_written(
    options: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, tmp_path / "out", *options) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_empty_corpus_has_no_ready_clip(tmp_path: Path) -> None:
    assert run(tmp_path, tmp_path / "out") == 4


def test_a_broken_video_fails_with_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"not a video")
    assert run(tmp_path / "in", tmp_path / "out") == 4
    captured = capsys.readouterr()
    assert captured.err.startswith("failed a: MediaError")
    assert "1 failed" in captured.out


def test_a_rerun_resumes(talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "in"
    root.mkdir()
    (root / "a.mp4").write_bytes(talk.read_bytes())
    (root / "b.mp4").write_bytes(b"not a video")
    assert run(root, tmp_path / "out", "--mel") == 3
    assert "2/2 clips: 1 done, 0 kept, 0 skipped, 1 failed" in capsys.readouterr().out
    (root / "b.mp4").unlink()
    assert run(root, tmp_path / "out", "--mel") == 0
    assert "1/1 clips: 0 done, 1 kept" in capsys.readouterr().out
    assert run(root, tmp_path / "out") == 0
    assert "1/1 clips: 1 done" in capsys.readouterr().out
    assert read_index(tmp_path / "out")["a"].n_frames == 30


def test_a_folder_gives_speakers_splits_and_transcripts(tmp_path: Path) -> None:
    for name in ("test/ann/1.mp4", "ben/2.MP4", "3.webm", "ben/notes.md", "ben/4.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "ben/2.txt").write_text("Hello\n  World ")
    (tmp_path / "ben/2.wav").touch()
    (tmp_path / "ben/4.txt").symlink_to("/etc/passwd")
    clips = {clip.id: clip for clip in folder.utterances(tmp_path)}
    rejected = clips.pop("ben/4")
    assert isinstance(rejected, RejectedClip)
    assert "4.txt is a link" in rejected.reason
    found = {name: clip for name, clip in clips.items() if isinstance(clip, Utterance)}
    assert set(found) == {"test/ann/1", "ben/2", "3"}
    assert (found["test/ann/1"].speaker, found["test/ann/1"].split) == ("ann", "test")
    assert (found["ben/2"].text, found["ben/2"].wav) == ("hello world", tmp_path / "ben/2.wav")
    assert (found["3"].speaker, found["3"].split, found["3"].wav) == ("unknown", "train", None)


def test_a_terminal_shows_a_bar_and_escaped_failures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    rows = [IndexRow("a", "", "", "", "done"), IndexRow("b\x1b[2J", "", "", "", "failed", "[bold]no\x07")]
    assert report_rows(iter(rows), 3) == {"done": 1, "failed": 1}
    captured = capsys.readouterr()
    assert "failed b\\x1b[2J: [bold]no\\x07" in captured.err
    assert "preparing" in captured.err
    assert "67%" in captured.err
    assert captured.out.startswith("2/3 clips: 1 done, 0 kept, 0 skipped, 1 failed; ")
