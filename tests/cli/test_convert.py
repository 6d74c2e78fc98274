"""What `convert` promises for any model: exit codes, one line per error, no half-written file."""

import errno
import json
import os
import signal
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lip2speech.cli import app
from lip2speech.cli.convert import exit_code
from lip2speech.confidence.calibration import Calibration
from lip2speech.pipeline import Lip2Speech, PipelineConfig
from lip2speech.synthesis import SynthesisOptions, SynthesisResult
from lip2speech.video import FaceReport, MediaError, NoFaceError

SAMPLES = 16_000
VIDEOS = ("good.mp4", "noface.mp4", "broken.mp4", "bug.mp4", "stop.mp4")


@dataclass
class FakeModel:
    """Writes one second of silence, unless the file's name says what goes wrong."""

    name: str = "fake"
    config: PipelineConfig = field(default_factory=PipelineConfig)
    confidence: tuple[float, ...] | None = None
    bits_per_code: float | None = None
    low_confidence: str = ""

    def speaker_embedding(self, voice: str | None) -> str:
        if voice not in (None, "own"):
            raise ValueError(f"no voice is called {voice!r}.")
        return "own"

    def resolve_vocoder(self, vocoder: str | None) -> str:
        if vocoder not in (None, "mel"):
            raise ValueError(f"no vocoder is called {vocoder!r}.")
        return "mel"

    def convert_to_file(
        self, video: Path, wav: Path, options: SynthesisOptions, progress: Callable[[float], None]
    ) -> SynthesisResult:
        progress(0.5)
        wav.write_bytes(b"half")
        if "appears" in video.name:
            video.with_suffix(".wav").write_bytes(b"of another process")
        problems: dict[str, Callable[[], BaseException]] = {
            "noface": lambda: NoFaceError(f"{video.name}: no face in 9 of 9 frames."),
            "broken": lambda: MediaError(f"{video.name}: damaged or incomplete."),
            "full": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(wav)),
            "bug": lambda: KeyError("oops"),
            "stop": KeyboardInterrupt,
        }
        for word, problem in problems.items():
            if word in video.name:
                raise problem()
        with wave.open(str(wav), "wb") as file:
            file.setparams((1, 2, SAMPLES, SAMPLES, "NONE", ""))
            file.writeframes(bytes(2 * SAMPLES))
        report = FaceReport(name=video.name, frames=25, face_frames=24, no_face_segments=[(0.0, 0.04)])
        self.low_confidence = options.low_confidence
        mean = self.confidence and sum(self.confidence) / len(self.confidence)
        return SynthesisResult(
            None, report, self.name, "mel", 0.25, self.confidence, mean, self.bits_per_code
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in VIDEOS:
        (tmp_path / name).write_bytes(b"video")
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `convert` on files of the folder, with the fake model."""
    monkeypatch.setattr(Lip2Speech, "from_pretrained", lambda *_, **__: FakeModel())
    monkeypatch.chdir(folder)
    return lambda *arguments: CliRunner().invoke(app, ["convert", *arguments])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {
        f"{n}.mp4" for n in ("good", "noface", "broken", "bug", "stop")
    }


def test_one_good_file_is_converted(run: Callable[..., Result], folder: Path) -> None:
    result = run("good.mp4")
    assert result.exit_code == 0
    assert (
        "good.mp4 -> good.wav: 1.00 s, face in 96 % of 25 frames, 1 segments without a face" in result.stdout
    )
    assert result.stderr == ""
    assert names(folder) == {"good.wav"}
    with wave.open(str(folder / "good.wav")) as file:
        assert file.getnframes() == SAMPLES


def test_a_usage_note_is_printed_once(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    noted = FakeModel(config=PipelineConfig(usage_note="knows one grammar."))
    monkeypatch.setattr(Lip2Speech, "from_pretrained", lambda *_, **__: noted)
    result = run("good.mp4", "--json", "-o", "a.wav")
    assert result.stderr == "lip2speech: model fake: knows one grammar.\n"
    assert len(result.stdout.splitlines()) == 1
    assert run("good.mp4", "--quiet", "-o", "b.wav").stderr == ""


def test_json_is_one_line_per_input(run: Callable[..., Result]) -> None:
    result = run("--json", "good.mp4", "noface.mp4")
    good, bad = map(json.loads, result.stdout.splitlines())
    assert good == {
        "input": "good.mp4", "output": "good.wav", "duration": 1.0, "frames": 25, "face_detection_rate": 0.96,
        "no_face_segments": [[0.0, 0.04]], "frames_damaged": 0, "frames_missing": 0,
        "model": "fake", "vocoder": "mel", "rtf": 0.25, "confidence": None,
        "mean_confidence": None, "skipped": False, "error": None, "exit_code": 0,
    }  # fmt: skip
    assert bad["error"] == "noface.mp4: no face in 9 of 9 frames."
    assert (bad["output"], bad["exit_code"]) == (None, 4)


@pytest.fixture
def calibrated(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """A fake model with a calibration; for `run`, which is asked for before."""
    made = FakeModel(
        config=PipelineConfig(confidence=Calibration(0.0), confidence_threshold=0.6),
        confidence=(0.91234, 0.5, 0.59),
    )
    monkeypatch.setattr(Lip2Speech, "from_pretrained", lambda *_, **__: made)
    return made


def test_the_confidence_is_reported(run: Callable[..., Result], calibrated: FakeModel) -> None:
    assert "confidence 67 %, low in 2 of 3 s" in run("good.mp4", "-o", "a.wav").stdout
    row = json.loads(run("good.mp4", "-o", "b.wav", "--json").stdout)
    assert (row["confidence"], row["mean_confidence"]) == ([0.912, 0.5, 0.59], 0.667)
    assert "bits_per_code" not in row
    calibrated.bits_per_code = 3.14159
    assert json.loads(run("good.mp4", "-o", "d.wav", "--json").stdout)["bits_per_code"] == 3.142
    calibrated.confidence = (0.9, 0.8)
    assert run("good.mp4", "-o", "c.wav").stdout.rstrip().endswith("confidence 85 %")


def test_low_confidence_speech_is_kept_replaced_or_muted(
    run: Callable[..., Result], calibrated: FakeModel
) -> None:
    for chosen in ("keep", "tone", "mute"):
        assert run("good.mp4", "--overwrite", "--low-confidence", chosen).exit_code == 0
        assert calibrated.low_confidence == chosen
    assert run("good.mp4", "--overwrite").exit_code == 0
    assert calibrated.low_confidence == "keep"
    assert run("good.mp4", "--overwrite", "--low-confidence", "mumble").exit_code == 2


def test_a_model_without_a_calibration_reports_no_confidence(run: Callable[..., Result]) -> None:
    assert run("good.mp4").stdout.rstrip().endswith("confidence unknown")
    result = run("good.mp4", "--overwrite", "--low-confidence", "tone")
    assert result.exit_code == 2
    assert "needs a model with a calibration" in result.stderr


def test_one_bad_file_does_not_stop_the_rest(run: Callable[..., Result], folder: Path) -> None:
    result = run("broken.mp4", "noface.mp4", "good.mp4", "--quiet")
    assert result.exit_code == 3
    assert names(folder) == {"good.wav"}
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 2
    assert all(line.startswith("lip2speech: ") for line in result.stderr.splitlines())


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (["noface.mp4"], 4),
        (["broken.mp4"], 3),
        (["noface.mp4", "broken.mp4"], 3),
        (["noface.mp4", "good.mp4"], 3),
        (["bug.mp4", "good.mp4"], 1),
        (["good.mp4", "good.mp4"], 2),
        (["good.mp4", "--voice", "missing.wav"], 2),
        (["good.mp4", "--vocoder", "missing"], 2),
        (["good.mp4", "-o", "good.mp4"], 2),
        (["good.mp4", "--nonsense"], 2),
        ([], 2),
    ],
)
def test_the_exit_code_says_what_happened(run: Callable[..., Result], files: list[str], code: int) -> None:
    result = run(*files)
    assert result.exit_code == code
    assert "Traceback" not in result.output


def test_an_internal_error_asks_for_a_report(run: Callable[..., Result]) -> None:
    assert "bug.mp4: internal error: KeyError: 'oops'; please report it." in run("bug.mp4").stderr


def test_codes_of_many_inputs_become_one() -> None:
    assert [exit_code(codes) for codes in ([], [0], [0, 4], [4, 4], [3, 4], [0, 1, 4])] == [0, 0, 3, 4, 3, 1]


def test_a_failed_overwrite_keeps_the_old_file(run: Callable[..., Result], folder: Path) -> None:
    (folder / "broken.wav").write_bytes(b"dear")
    assert run("broken.mp4", "--overwrite").exit_code == 3
    assert (folder / "broken.wav").read_bytes() == b"dear"
    assert run("good.mp4", "-o", "broken.wav").exit_code == 2
    assert (folder / "broken.wav").read_bytes() == b"dear"
    assert run("good.mp4", "-o", "broken.wav", "--overwrite").exit_code == 0
    assert (folder / "broken.wav").read_bytes() != b"dear"
    assert names(folder) == {"broken.wav"}


def test_ctrl_c_leaves_complete_files_only(run: Callable[..., Result], folder: Path) -> None:
    result = run("good.mp4", "stop.mp4", "noface.mp4")
    assert result.exit_code == 128 + signal.SIGINT
    assert result.stderr.splitlines()[-1] == "stopped."
    assert names(folder) == {"good.wav"}


def test_a_missing_model_is_code_5(folder: Path) -> None:
    result = CliRunner().invoke(app, ["convert", str(folder / "good.mp4"), "--model", "nowhere"])
    assert result.exit_code == 5
    assert result.stderr.startswith("lip2speech: nowhere: no such checkpoint folder")
    assert len(result.stderr.splitlines()) == 1


def test_a_strange_file_name_stays_on_one_line(run: Callable[..., Result], folder: Path) -> None:
    name = os.fsdecode(b"noface\n\x1b[31m\xff.mp4")
    (folder / name).write_bytes(b"video")
    result = run(name)
    assert result.exit_code == 4
    assert len(result.stderr.splitlines()) == 1
    assert "\x1b" not in result.stderr


def test_output_folders_are_created_or_refused(run: Callable[..., Result], folder: Path) -> None:
    assert run("good.mp4", "-o", "a/b/c.wav").exit_code == 0
    assert (folder / "a/b/c.wav").is_file()
    result = run("good.mp4", "-o", "noface.mp4/c.wav")
    assert result.exit_code == 2
    assert "is inside something that is not a folder" in result.stderr


def test_a_failure_leaves_no_folder(run: Callable[..., Result], folder: Path) -> None:
    assert run("noface.mp4", "-o", "new/folder").exit_code == 4
    assert names(folder) == set()


def test_existing_outputs_are_skipped_and_reported(run: Callable[..., Result], folder: Path) -> None:
    (folder / "noface.wav").write_bytes(b"dear")
    rows = [
        json.loads(line)
        for line in run("noface.mp4", "good.mp4", "--skip-existing", "--json").stdout.splitlines()
    ]
    assert [(row["output"], row["skipped"], row["exit_code"]) for row in rows] == [
        ("noface.wav", True, 0), ("good.wav", False, 0),
    ]  # fmt: skip
    assert (folder / "noface.wav").read_bytes() == b"dear"
    again = run("noface.mp4", "good.mp4", "--skip-existing")
    assert again.exit_code == 0
    assert again.stdout.splitlines()[1] == "good.mp4: skipped, good.wav exists"


def test_sound_that_a_killed_run_left_is_removed_by_the_next(
    run: Callable[..., Result], folder: Path
) -> None:
    left = folder / ".lip2speech-killed"
    left.mkdir()
    (left / "speech.wav").write_bytes(b"sound")
    (left / "owner").write_bytes(b"!")
    assert run("good.mp4").exit_code == 0
    assert names(folder) == {"good.wav"}


def test_an_output_that_another_process_wrote_meanwhile_is_kept(
    run: Callable[..., Result], folder: Path
) -> None:
    (folder / "appears.mp4").write_bytes(b"video")
    result = run("appears.mp4")
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1
    assert "appears.wav: was written by another process meanwhile" in result.stderr
    assert (folder / "appears.wav").read_bytes() == b"of another process"


def test_a_full_disk_is_exit_code_3_with_the_name_of_the_output(
    run: Callable[..., Result], folder: Path
) -> None:
    (folder / "full.mp4").write_bytes(b"video")
    result = run("full.mp4", "-o", "new.wav")
    assert result.exit_code == 3
    assert result.stderr == "lip2speech: full.mp4: new.wav: No space left on device.\n"
    assert names(folder) == {"full.mp4"}


def test_a_name_that_the_console_cannot_show_does_not_end_a_batch(
    run: Callable[..., Result], folder: Path
) -> None:
    for name in ("1.mp4", "\u53e3.mp4", "z.mp4"):
        (folder / "batch" / name).parent.mkdir(exist_ok=True)
        (folder / "batch" / name).write_bytes(b"video")
    result = CliRunner(charset="cp1252").invoke(app, ["convert", "batch"])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 3
    assert "\\u53e3.mp4 -> " in result.stdout


def test_every_audio_format_keeps_its_suffix_while_it_is_written(
    run: Callable[..., Result], folder: Path
) -> None:
    assert run("good.mp4", "-o", "out.mp3").exit_code == 0
    assert run("good.mp4", "-o", "out", "--format", "flac").exit_code == 0
    assert names(folder) == {"out.mp3", "out"}
    assert (folder / "out" / "good.flac").is_file()
