"""A model that learns how often it is right (lip2speech/evaluation/calibration.py)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lip2speech import checkpoint
from lip2speech.cli import app
from lip2speech.confidence.calibration import Calibration
from lip2speech.confidence.features import FEATURES
from lip2speech.evaluation import calibrate as module
from lip2speech.evaluation.asr.pocketsphinx import TimedWord
from lip2speech.evaluation.calibration import (
    CalibrationClip,
    CalibrationReport,
    calibrate,
    fit,
    listen,
    plan,
    regress,
)
from lip2speech.evaluation.dataset import prepared_items
from lip2speech.evaluation.streaming import live_configs, say_live
from lip2speech.pipeline import Lip2Speech
from tests.factories import prepare, save_judged, save_system

WIDTH = len(FEATURES) + 1
TEXT = "bin blue at f two now"


def clips(n: int, seed: int, name: str = "a:test") -> list[CalibrationClip]:
    """Clips of one word, right the more often the lower their unit entropy; nothing else has a meaning."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        x = rng.random(WIDTH)
        right = rng.random() < 1 / (1 + np.exp(-(4 - 8 * x[0])))
        observed = torch.tensor(x, dtype=torch.float32).expand(30, WIDTH)
        made.append(CalibrationClip(name, str(i), observed, ((0.6, bool(right)),)))
    return made


class FakeRecogniser:
    """Hears the first four words right and the others not, or nothing at all, in turn."""

    def __init__(self) -> None:
        self.asked = 0

    def hear(self, wav: torch.Tensor) -> list[TimedWord]:
        self.asked += 1
        if self.asked % 3 == 0:
            return []
        said = ["bin", "blue", "at", "f", "six", "soon"]
        return [TimedWord(word, 0.1 * i, 0.1 * (i + 1)) for i, word in enumerate(said)]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Recogniser", FakeRecogniser)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    return prepare(tmp_path / "set", splits="test " * 8 + "valid valid", speakers="ann ben cyd", text=TEXT)


def test_the_weights_are_those_the_words_were_drawn_with() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((20_000, 2))
    y = rng.random(20_000) < 1 / (1 + np.exp(-(1 - 3 * x[:, 0] + 2 * x[:, 1])))
    bias, weights = regress(x, y.astype(float), np.ones(len(x)))
    assert bias == pytest.approx(1, abs=0.15) and weights == pytest.approx([-3, 2], abs=0.2)


def test_a_fit_keeps_its_word_on_other_clips() -> None:
    calibration = fit(clips(3000, 0))
    assert calibration.unit_entropy == pytest.approx(-8, abs=1)
    report = CalibrationReport(calibration, 3000, tuple(clips(3000, 1)))
    assert module.reliability.ece(report.filled()) < 0.03
    line = report.text().splitlines()[4]
    assert line.startswith("| all | plain | 3000 | 3000 | 0.")


def test_every_set_counts_alike() -> None:
    few = [CalibrationClip("b:test", c.id, c.observed, ((0.6, False),)) for c in clips(20, 1)]
    sure = {n: CalibrationReport(fit([*clips(n, 0), *few]), n, tuple(few)).words for n in (200, 2000)}
    means = [np.mean([confidence for _, confidence, _ in words]) for words in sure.values()]
    assert means[0] == pytest.approx(means[1], abs=0.05)


def test_what_can_be_seen_has_the_weight_it_was_drawn_with() -> None:
    rng, column = np.random.default_rng(2), FEATURES.index("sharpness")
    made = []
    for clip in clips(4000, 2):
        seen = float(clip.observed[0, column])
        right = rng.random() < 1 / (1 + np.exp(2 - 5 * seen))
        made.append(replace(clip, words=((0.6, bool(right)),), picture="worse" if seen < 0.5 else "plain"))
    calibration = fit(made)
    assert calibration.sharpness == pytest.approx(5, abs=0.6) and calibration.bias == pytest.approx(
        -2, abs=0.5
    )
    report = CalibrationReport(calibration, 1, tuple(made))
    assert max(module.reliability.ece(report.filled(None, picture)) for picture in module.PICTURES) < 0.05


def test_what_is_unlike_speech_has_the_weight_it_was_drawn_with() -> None:
    rng, column = np.random.default_rng(3), FEATURES.index("code_nll")
    made = []
    for clip in clips(4000, 3):
        unlike = float(clip.observed[0, column])
        right = rng.random() < 1 / (1 + np.exp(-(3 - 6 * unlike)))
        made.append(replace(clip, words=((0.6, bool(right)),)))
    found = fit(made)
    assert found.code_nll == pytest.approx(-6, abs=0.7) and found.bias == pytest.approx(3, abs=0.5)
    turned = [replace(c, words=((0.6, not c.words[0][1]),)) for c in made]
    assert fit(turned).code_nll == 0


@pytest.mark.parametrize("live", [None, 120])
def test_a_model_with_a_likelihood_is_calibrated_by_it(
    fake: None, prepared: Path, tmp_path: Path, live: int | None
) -> None:
    folder, sets = save_judged(tmp_path / "model"), [(prepared, "test")]
    report = calibrate(folder, sets, sets, live=live, device="cpu")
    column = torch.cat([clip.observed for clip in report.clips])[:, FEATURES.index("code_nll")]
    assert (column > 0).all()
    assert "likelihood " in report.text()
    assert Lip2Speech.from_pretrained(folder, "cpu").config.confidence == report.calibration


def test_a_weight_that_would_reward_doubt_is_left_out() -> None:
    turned = [CalibrationClip(c.set, c.id, c.observed, ((0.6, not c.words[0][1]),)) for c in clips(500, 0)]
    assert fit(turned).unit_entropy == 0


@pytest.mark.parametrize("right", [True, False])
def test_words_of_one_kind_teach_nothing(right: bool) -> None:
    with pytest.raises(ValueError, match="words that are right and some that are wrong, got . right of 2"):
        fit([CalibrationClip("a", str(i), torch.zeros(30, WIDTH), ((0.5, right),)) for i in range(2)])


def test_a_word_has_the_second_round_it() -> None:
    observed = torch.arange(75.0)[:, None].expand(75, WIDTH)
    clip = CalibrationClip("a", "b", observed, ((0.1, True), (1.5, True), (2.9, True)))
    assert clip.seconds()[:, 0, 0].tolist() == [0, 25, 50] and clip.seconds().shape == (3, 25, WIDTH)
    assert CalibrationClip("a", "b", observed[:7], ((0.1, True),)).seconds().shape == (1, 7, WIDTH)


def test_what_is_not_understood_is_wrong_everywhere(tiny_system: Path, prepared: Path) -> None:
    model, item = Lip2Speech.from_pretrained(tiny_system, "cpu"), prepared_items(prepared, "test")[0]
    recogniser = FakeRecogniser()
    heard = [listen(model, item, "a:test", recogniser) for _ in range(3)]  # type: ignore[arg-type]
    assert [right for _, right in heard[0].words] == [True] * 4 + [False] * 2
    assert heard[0].words[1][0] == pytest.approx(0.15)
    assert [right for _, right in heard[2].words] == [False] * 6
    assert heard[2].words[0][0] == pytest.approx(14 / 25 / 12)


def test_fit_and_report_share_no_clip_and_no_speaker(prepared: Path) -> None:
    work = plan([(prepared, "test")], [(prepared, "test"), (prepared, "valid")], None)
    by_role = {
        role: {i.speaker for r, n, i in work if r is role and n == "set:test"} for role in (True, False)
    }
    assert by_role == {True: {"ann", "cyd"}, False: {"ben"}}
    assert [r for r, n, _ in work if n == "set:valid"] == [False, False]
    assert len({i.id for _, _, i in work}) == len(work) == 10
    one = plan([(prepared, "test")], [(prepared, "valid")], 2)
    assert [r for r, _, _ in one] == [True, True, False, False]


def test_sets_that_leave_nothing_to_do_are_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="clips to fit on and clips to report on"):
        plan([(prepared, "test")], [], None)
    free = prepare(tmp_path / "free", splits="test test", text="hello world")
    with pytest.raises(ValueError, match="no clip of split 'test' says a sentence"):
        plan([(free, "test")], [(prepared, "test")], None)


def test_the_numbers_are_kept_in_the_models_folder(fake: None, prepared: Path, tmp_path: Path) -> None:
    folder = save_system(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    sets = [(prepared, "test")], [(prepared, "test")]
    dry = calibrate(folder, *sets, device="cpu", write=False)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    report = calibrate(folder, *sets, device="cpu")
    assert report.calibration == dry.calibration
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {n for n in before if before[n] != after[n]} == {"config.yaml", "SHA256SUMS"}
    assert Lip2Speech.from_pretrained(folder, "cpu").config.confidence == report.calibration
    assert checkpoint.load(folder).config["pipeline"]["voice"] == "ann"
    assert calibrate(folder, *sets, device="cpu").calibration == report.calibration
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "set"]


def test_the_command_prints_the_table_and_draws_the_plot(fake: None, prepared: Path, tmp_path: Path) -> None:
    folder, drawn = save_system(tmp_path / "model"), tmp_path / "plot.svg"
    words = ["calibrate", str(folder), "--fit", f"{prepared}:test", "--report", f"{prepared}:valid"]
    result = CliRunner().invoke(app, [*words, "--plot", str(drawn), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "| confidence | words | mean confidence | share right |" in result.stdout
    assert (
        "Fitted on 8 clips, spoken whole, plain and worse: bias " in result.stdout
        and drawn.read_text().startswith("<svg")
    )
    assert Lip2Speech.from_pretrained(folder, "cpu").config.confidence is not None
    again = CliRunner().invoke(app, [*words, "--plot", str(drawn)])
    assert again.exit_code == 2 and "--overwrite" in again.stderr


@pytest.mark.parametrize("name", ["nocolon", ":test", "folder:"])
def test_a_set_without_a_split_is_usage(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["calibrate", str(tmp_path), "--fit", name, "--report", "a:b"])
    assert result.exit_code == 2 and "expected a folder of prepared clips and a split" in result.stderr


def test_a_report_names_its_sets_and_pictures() -> None:
    plain = [*clips(5, 0, "a:x"), *clips(5, 1, "b:y")]
    report = CalibrationReport(
        Calibration(0.0), 1, (*plain, *(replace(clip, picture="worse") for clip in plain))
    )
    lines = report.text().splitlines()
    assert [line.split(" | ")[:3] for line in lines[4:10]] == [
        [f"| {name}", picture, count]
        for picture in ("plain", "worse")
        for name, count in (("all", "10"), ("a:x", "5"), ("b:y", "5"))
    ]
    assert [line for line in lines if line.endswith(":")][1:] == ["Plain:", "Worse:"]


def test_every_clip_is_spoken_plain_and_worse(fake: None, prepared: Path, tmp_path: Path) -> None:
    sets, done = ([(prepared, "test")], [(prepared, "valid")]), []
    folder = save_system(tmp_path / "model")
    report = calibrate(folder, *sets, device="cpu", write=False, progress=lambda *n: done.append(n))
    assert report.fitted == 8 and done[-1] == (20, 20)
    assert [(clip.id, clip.picture) for clip in report.clips] == [
        (name, picture) for name in ("clip8", "clip9") for picture in ("plain", "worse")
    ]
    plain, worse = (clip.observed for clip in report.clips[:2])
    assert plain.shape == worse.shape and not torch.equal(plain, worse)


def test_a_model_for_live_speech_is_calibrated_live(
    fake: None, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, asked = save_system(tmp_path / "model"), []
    real = module.say_live
    monkeypatch.setattr(module, "say_live", lambda *a: asked.append(a[-1].ahead) or real(*a))
    report = calibrate(folder, [(prepared, "test")], [(prepared, "test")], live=120, write=False)
    assert asked == [3] * 16 and "clips, spoken live, 120 ms ahead, plain and worse" in report.text()
    assert all(len(clip.observed) == 14 + int(clip.id[4:]) for clip in report.clips)
    with pytest.raises(ValueError, match="multiple of 40 ms"):
        calibrate(folder, [(prepared, "test")], [(prepared, "test")], live=50)


def test_crops_said_live_are_what_is_said_of_them_in_such_chunks(tiny_system: Path) -> None:
    model = Lip2Speech.from_pretrained(tiny_system, device="cpu")
    roi = np.random.default_rng(0).integers(0, 256, (20, 96, 96), dtype=np.uint8)
    config = live_configs([400])["live, 400 ms ahead"]
    wav, observed = say_live(model, roi, None, model.config.vocoder, config)
    whole, seen, _ = model.speak(roi)
    torch.testing.assert_close(wav, whole, rtol=0, atol=1e-4)  # shorter than a window: one piece at the end
    torch.testing.assert_close(observed, seen)
