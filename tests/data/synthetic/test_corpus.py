"""The synthetic corpus on disk: three files per clip, reproducible for any number of workers."""

import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from lip2speech.constants import SAMPLE_RATE, SAMPLES_PER_FRAME, VIDEO_FPS
from lip2speech.data.synthetic import make_corpus, utterances
from lip2speech.data.synthetic.sample import MAX_BYTES, make_sample
from lip2speech.data.synthetic.sentences import sentence_split
from lip2speech.data.synthetic.voices import synthesize_utterance
from lip2speech.data.utterance import Utterance

SEED = 11
BUNDLED = Path(__file__).parents[3] / "lip2speech" / "pretrained" / "sample.txt"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synth") / "test"
    make_corpus(root, 2, SEED, "test")  # "both" kinds of faces, which in this split means drawn ones
    return root


def read(video: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, H, W, 3) uint8 and audio (T_a,) int16 of a clip."""
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(video)) as container:
        sound = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    return np.stack(frames), np.concatenate(sound)


def test_a_clip_has_three_files(corpus: Path) -> None:
    names = {f"talker-test-{SEED}-0000{i}.{kind}" for i in range(2) for kind in ("mp4", "txt", "json")}
    assert {path.name for path in corpus.iterdir()} == names


def test_a_clip_is_h264_at_25_fps_with_audio_of_the_same_length(corpus: Path) -> None:
    for video in corpus.glob("*.mp4"):
        with av.open(str(video)) as container:
            picture, sound = container.streams.video[0], container.streams.audio[0]
            assert (picture.codec_context.name, picture.pix_fmt) == ("h264", "yuv420p")
            assert picture.average_rate == VIDEO_FPS
            assert sound.rate == SAMPLE_RATE
            assert sound.channels == 1
            assert 256 <= picture.height <= 400
            assert 256 <= picture.width <= 400
        frames, samples = read(video)
        assert len(samples) == len(frames) * SAMPLES_PER_FRAME


def test_the_audio_is_the_synthesized_utterance_sample_by_sample(corpus: Path) -> None:
    speech = synthesize_utterance("test", SEED, 1)
    _, samples = read(corpus / f"talker-test-{SEED}-00001.mp4")
    assert np.array_equal(samples, np.round(speech.wav * 32767).astype(np.int16))


def test_the_metadata_of_a_clip_is_written(corpus: Path) -> None:
    for file in corpus.glob("*.json"):
        metadata, text = json.loads(file.read_text()), file.with_suffix(".txt").read_text().strip()
        assert metadata["text"] == text
        assert metadata["split"] == "test" == sentence_split(text)
        assert metadata["seed"] == SEED
        assert metadata["face"].startswith("test-")
        assert metadata["voice"]["name"]
        assert all(0 < start < end for _, start, end in metadata["phonemes"])


def test_some_training_sentences_are_valid_for_every_speaker(tmp_path: Path) -> None:
    texts = sorted({synthesize_utterance("train", seed, i).text for seed in (1, 2) for i in range(150)})
    for i, text in enumerate([*texts, *texts]):
        metadata = {"split": "train", "voice": {"name": f"voice {i}"}, "face": "train-0001"}
        (tmp_path / f"{i:04d}.mp4").touch()
        (tmp_path / f"{i:04d}.txt").write_text(text)
        (tmp_path / f"{i:04d}.json").write_text(json.dumps(metadata))
    found = [clip.split for clip in utterances(tmp_path)]
    assert found[: len(texts)] == found[len(texts) :]  # the same sentence in another voice
    assert set(found) == {"train", "valid"}
    assert found.count("valid") < 0.1 * len(found)


def test_the_clips_do_not_depend_on_the_number_of_workers(corpus: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    ids = make_corpus(tmp_path / "again", 3, SEED, "test", "drawn", 2, lambda *done: seen.append(done))
    assert ids == [f"talker-test-{SEED}-0000{i}" for i in range(3)]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for file in corpus.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_photo_is_used_for_training_only(tmp_path: Path) -> None:
    make_corpus(tmp_path / "photo", 1, 0, "train", "photo")
    (file,) = (tmp_path / "photo").glob("*.json")
    assert json.loads(file.read_text())["face"] == "photo"
    with pytest.raises(ValueError, match="faces='photo' requires split='train'"):
        make_corpus(tmp_path / "test", 1, 0, "test", "photo")
    assert not (tmp_path / "test").exists()


def test_the_corpus_is_read_in_order(corpus: Path) -> None:
    first, second = utterances(corpus)
    assert isinstance(first, Utterance)
    assert first.id < second.id
    assert first.video.is_file()
    assert first.wav is None
    assert first.split == "test"
    assert first.speaker == synthesize_utterance("test", SEED, 0).voice.name
    assert first.text == synthesize_utterance("test", SEED, 0).text


def test_a_folder_without_clips_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no mp4 here"):
        list(utterances(tmp_path))


def test_a_clip_without_its_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(FileNotFoundError, match="a.txt and a.json must be next to it"):
        list(utterances(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sentences": 0}, "sentences and workers must be 1 or more"),
        ({"workers": 0}, "sentences and workers must be 1 or more"),
        ({"seed": -1}, "seed 0 or more"),
        ({"split": "dev"}, "split must be one of train, test, got 'dev'"),
        ({"faces": "cat"}, "faces must be one of photo, drawn, both, got 'cat'"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_corpus(tmp_path / "out", **{"sentences": 1, "seed": 0, **arguments})
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_is_kept_without_overwrite(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        make_corpus(tmp_path, 1, 0, faces="drawn")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    make_corpus(tmp_path, 1, 0, faces="drawn", overwrite=True)
    assert len(list(tmp_path.iterdir())) == 4


def test_an_output_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(FileExistsError, match="is a file"):
        make_corpus(tmp_path / "out", 1, 0)


def test_a_missing_photo_package_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lip2speech.data.synthetic.render.photo import portrait

    portrait.cache_clear()
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match=r"pip install 'lip2speech\[synth\]'"):
        make_corpus(tmp_path / "out", 1, 0)
    assert not (tmp_path / "out").exists()


def test_the_sample_is_small_and_silent_and_of_the_test_split(tmp_path: Path) -> None:
    path = make_sample(tmp_path / "sample.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sample.mp4", "sample.txt"]
    assert path.stat().st_size <= MAX_BYTES
    assert sentence_split(path.with_suffix(".txt").read_text().strip()) == "test"
    with av.open(str(path)) as container:
        assert not container.streams.audio
        assert container.streams.video[0].average_rate == VIDEO_FPS


def test_the_sample_must_be_an_mp4(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give a name that ends in .mp4"):
        make_sample(tmp_path / "sample.avi")
