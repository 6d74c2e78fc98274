"""Official multi-target models become folders that convert videos, or nothing is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from lip2speech import checkpoint
from lip2speech.checkpoint import CheckpointError
from lip2speech.cli import app
from lip2speech.importers import base, lip2speech_unit
from lip2speech.importers.fairseq import FairseqCheckpoint, read_fairseq
from lip2speech.importers.foreign_file import ForeignFileError
from lip2speech.importers.hifigan import import_unit_vocoder
from lip2speech.importers.lip2speech_unit import import_unit_model, read_unit_model
from lip2speech.models.lip2speech import LipModel
from lip2speech.modules.fusing import fold
from lip2speech.pipeline import Lip2Speech
from lip2speech.streaming import stream_file
from lip2speech.synthesis import SynthesisOptions
from tests.importers.unit_golden import (
    FOLDER,
    MODELS,
    TOLERANCE,
    VOCODER,
    key_list,
    load_model,
    model_rows,
    relative_error,
    stored,
    video,
)
from tests.models.golden import PRETRAINED

PLAIN, WITH_AVHUBERT = (FOLDER / f"{name}.pt" for name in MODELS)


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedding of a foreign speaker encoder."""
    path = tmp_path_factory.mktemp("voices") / "ann.npy"
    np.save(path, stored("multi_target")["spk_emb"][0].numpy())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden model on AV-HuBERT and the golden vocoder, as one folder without a voice."""
    out = tmp_path_factory.mktemp("models") / "unit"
    import_unit_model(WITH_AVHUBERT, out, vocoder=VOCODER, pretrained=PRETRAINED)
    return out


# Equal to the official program


@pytest.mark.parametrize("name", MODELS)
def test_mel_and_units_equal_the_official_ones(name: str) -> None:
    assert {
        tensor: value for _, tensor, value in model_rows(name, load_model(name)) if value > TOLERANCE
    } == {}


@pytest.mark.parametrize("name", MODELS)
def test_folding_for_inference_keeps_the_official_outputs(name: str) -> None:
    read = read_unit_model(FOLDER / f"{name}.pt", pretrained=PRETRAINED)
    folded = LipModel(read.config).eval()
    checkpoint.load_weights(folded, read.tensors)
    fold(folded)
    assert {tensor: value for _, tensor, value in model_rows(name, folded) if value > TOLERANCE} == {}


@pytest.mark.parametrize(("name", "dropped"), [("multi_target", 0), ("multi_target_avhubert", 2)])
def test_every_published_weight_is_mapped(monkeypatch: pytest.MonkeyPatch, name: str, dropped: int) -> None:
    weights = key_list(name)
    file = FairseqCheckpoint(Path("full.pt"), weights, {}, None)
    monkeypatch.setattr(lip2speech_unit, "read_fairseq", lambda path: file)
    monkeypatch.setattr(base, "_checked", lambda foreign, tensor, expected, path: same(tensor, expected))
    read = read_unit_model("full.pt")
    assert len(read.dropped) == dropped
    assert len(read.tensors) == len(weights) - dropped + len(lip2speech_unit.MISSING_IN_SOURCE)
    sizes = read.config.heads
    assert (sizes.hidden_dim, sizes.speaker_dim, sizes.n_units) == (512, 256, 200)
    with torch.device("meta"):
        assert LipModel(read.config).state_dict().keys() == read.tensors.keys()


def same(tensor: Tensor, expected: Tensor) -> Tensor:
    assert tensor.shape == expected.shape
    return tensor


def test_no_two_foreign_names_map_to_the_same_weight() -> None:
    for name in MODELS:
        read = read_unit_model(FOLDER / f"{name}.pt", heads=4)
        official = read_fairseq(FOLDER / f"{name}.pt").model
        assert len(read.tensors) == len(official) - len(read.dropped) + len(lip2speech_unit.MISSING_IN_SOURCE)


# The folder, from video to audio


@pytest.mark.parametrize("vocoder", [None, "griffin-lim"])
def test_a_video_is_converted_by_the_pipeline(
    folder: Path, clip: Path, voice: Path, vocoder: str | None
) -> None:
    model = Lip2Speech.from_pretrained(folder, device="cpu")
    assert model.vocoder_names == ["griffin-lim", "hifigan"]
    result = model.convert(clip, SynthesisOptions(voice=voice, vocoder=vocoder))
    assert result.vocoder == (vocoder or "hifigan")
    assert result.wav is not None
    assert len(result.wav) == 640 * result.report.frames
    assert 1e-3 < result.wav.abs().max() <= 1


def test_the_audio_equals_the_official_model_and_vocoder_in_sequence(folder: Path) -> None:
    model, golden = Lip2Speech.from_pretrained(folder, device="cpu"), stored("multi_target_avhubert")
    frames, _ = video()
    with torch.no_grad():
        prediction = model.model(frames[:1], golden["spk_emb"][:1])
        wav = model.vocode(prediction)
        units = golden["gen_units_tokens"][:1] - 4
        again = model.vocoders["hifigan"].generate(golden["gen_mel_0"].T[None], units, golden["spk_emb"][:1])
    assert relative_error(wav, again[0, 0]) < 1e-4


def test_another_speaker_embedding_changes_the_audio(folder: Path) -> None:
    model, crops = Lip2Speech.from_pretrained(folder, device="cpu"), np.zeros((3, 96, 96), np.uint8)
    one, other = (model.synthesize(crops, torch.full((256,), value)) for value in (0.0, 0.1))
    assert not torch.allclose(one, other)


def test_the_command_takes_a_speaker_embedding_from_a_file(
    folder: Path, clip: Path, voice: Path, tmp_path: Path
) -> None:
    arguments = ["convert", str(clip), "-o", str(tmp_path / "x.wav"), "--model", str(folder)]
    done = CliRunner().invoke(app, [*arguments, "--voice", str(voice)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "x.wav").is_file()


def test_conversion_without_a_voice_reports_what_to_give(folder: Path, clip: Path) -> None:
    with pytest.raises(ValueError, match="has no default voice; give one.*256 numbers as FILE.npy"):
        Lip2Speech.from_pretrained(folder, device="cpu").convert(clip)


def test_a_recording_is_refused_as_a_voice(folder: Path, tmp_path: Path) -> None:
    from lip2speech.audio.io import write_wav

    write_wav(tmp_path / "x.wav", torch.rand(16000))
    with pytest.raises(
        ValueError, match="takes speaker embeddings of 256 dimensions from an external encoder"
    ):
        Lip2Speech.from_pretrained(folder, device="cpu").speaker_embedding(tmp_path / "x.wav")


def test_it_streams_in_overlapping_windows(folder: Path, clip: Path, voice: Path, tmp_path: Path) -> None:
    model = Lip2Speech.from_pretrained(folder, device="cpu")
    result = stream_file(model, clip, tmp_path / "x.wav", SynthesisOptions(voice=voice))
    assert result.stats.output_frames > 50
    assert (tmp_path / "x.wav").is_file()


def test_a_voice_and_a_vocoder_folder_can_be_included(voice: Path, tmp_path: Path) -> None:
    import_unit_vocoder(VOCODER, tmp_path / "vocoder")
    import_unit_model(PLAIN, tmp_path / "out", vocoder=tmp_path / "vocoder", voice=voice)
    model = Lip2Speech.from_pretrained(tmp_path / "out", device="cpu")
    assert model.config.default_voice == "ann"
    assert model.config.vocoder == "hifigan"
    torch.testing.assert_close(model.speaker_embedding(None), torch.from_numpy(np.load(voice)))


def test_without_a_vocoder_the_folder_uses_griffin_lim(tmp_path: Path) -> None:
    done = import_unit_model(PLAIN, tmp_path / "out")
    model = Lip2Speech.from_pretrained(tmp_path / "out", device="cpu")
    assert model.vocoder_names == ["griffin-lim"]
    wav = model.synthesize(np.zeros((3, 96, 96), np.uint8), torch.zeros(256))
    assert wav.shape == (1920,)
    loaded = checkpoint.load(tmp_path / "out")
    assert loaded.config == done.config
    assert "on a ResNet trained from scratch" in loaded.card
    assert "Vocoder: griffin-lim" in loaded.card


def test_the_card_gives_terms_and_dropped_weights(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    for words in ("no licence", "non-commercial", "`encoder.w2v_model.mask_emb`", "Vocoder: hifigan"):
        assert words in card


# Mismatches


def unlike(config: dict[str, Any]) -> None:
    config["mel"] |= {"n_fft": 512, "win_length": 400, "pad": "same"}


def other_voices(config: dict[str, Any]) -> None:
    config["speaker_dim"] = 255


def other_units(config: dict[str, Any]) -> None:
    config["n_units"] = 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            unlike,
            "the model's mel has n_fft 640, win_length 640, pad reflect, the vocoder's n_fft 512, win_l",
        ),
        (other_voices, "the model has speaker_dim 256, its vocoder speaker_dim 255; they do not fit"),
        (other_units, "the model has n_units 200, its vocoder n_units 100; they do not fit"),
    ],
)
def test_a_vocoder_that_does_not_match_the_model_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    from lip2speech.config import from_dict
    from lip2speech.vocoders import HiFiGAN, HiFiGANConfig

    done = import_unit_vocoder(VOCODER, tmp_path / "vocoder")
    change(done.config["vocoder"])
    weights = HiFiGAN(from_dict(HiFiGANConfig, done.config["vocoder"])).state_dict()
    checkpoint.save(tmp_path / "vocoder", done.config, weights, "", overwrite=True)
    with pytest.raises(CheckpointError, match=message):
        import_unit_model(PLAIN, tmp_path / "out", vocoder=tmp_path / "vocoder")
    assert not (tmp_path / "out").exists()


FC1 = "encoder.encoder.encoders.1.feed_forward.w_1.weight"
MISMATCHES: dict[str, tuple[dict[str, Tensor | None], str]] = {
    "a wrong shape": ({FC1: torch.zeros(64, 31)}, f"{FC1}: has shape (64, 31), expected (64, 32)"),
    "a missing weight": ({FC1: None}, f"{FC1} is missing"),
    "a missing size": ({"encoder.proj_out.weight": None}, "encoder.proj_out.weight is missing"),
    "a missing trunk weight": (
        {"encoder.encoder.frontend.trunk.layer4.1.bn2.bias": None},
        "encoder.encoder.frontend.trunk.layer4.1.bn2.bias is missing",
    ),
    "an unknown weight": ({"decoder.x": torch.zeros(1)}, "decoder.x is not part of lip2speech-unit"),
    "a second weight": ({"encoder.mel_proj.extra": torch.zeros(1)}, "encoder.mel_proj.extra is not part of"),
    "NaN": ({"encoder.proj_out.bias": torch.full((204,), torch.nan)}, "proj_out.bias: has NaN"),
    "a gap in the layers": ({"encoder.encoder.encoders.7.x": torch.zeros(1)}, "without gaps"),
    "no speaker embedding": ({"encoder.mel_conv.0.weight": torch.zeros(32, 32, 3)}, "impossible sizes"),
    "no units": ({"encoder.proj_out.weight": torch.zeros(4, 32)}, "impossible sizes"),
    "PReLU where there is Swish": (
        {"encoder.encoder.frontend.frontend3D.2.weight": torch.zeros(4)},
        "encoder.encoder.frontend.frontend3D.2.weight is not part of",
    ),
}


@pytest.mark.parametrize("kind", MISMATCHES)
def test_a_mismatch_is_named_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    changes, message = MISMATCHES[kind]
    weights = {**read_fairseq(PLAIN).model, **changes}
    torch.save({"model": {k: v for k, v in weights.items() if v is not None}}, tmp_path / "x.pt")
    with pytest.raises(ForeignFileError) as error:
        import_unit_model(tmp_path / "x.pt", tmp_path / "out")
    assert message in str(error.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.pt"]


def test_a_mismatch_of_the_encoder_is_named(tmp_path: Path) -> None:
    weights = dict(read_fairseq(WITH_AVHUBERT).model)
    del weights["encoder.w2v_model.post_extract_proj.bias"]
    torch.save({"model": weights}, tmp_path / "x.pt")
    with pytest.raises(ForeignFileError, match="encoder.w2v_model.post_extract_proj.bias is missing"):
        read_unit_model(tmp_path / "x.pt", heads=4)
    with pytest.raises(ForeignFileError, match="give heads, or the pretrained file"):
        read_unit_model(tmp_path / "x.pt")


def test_a_file_of_another_model_is_refused() -> None:
    with pytest.raises(ForeignFileError, match="not a lip2speech-unit file"):
        read_unit_model(PRETRAINED)


def test_a_speaker_embedding_of_another_size_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros(163, np.float32))
    with pytest.raises(ValueError, match="v.npy: not a speaker embedding of 256 dimensions"):
        import_unit_model(PLAIN, tmp_path / "out", voice=tmp_path / "v.npy")


def test_a_folder_is_overwritten_only_on_request(tmp_path: Path) -> None:
    import_unit_model(PLAIN, tmp_path / "out")
    with pytest.raises(ValueError, match="exists"):
        import_unit_model(PLAIN, tmp_path / "out")
    import_unit_model(PLAIN, tmp_path / "out", overwrite=True, fp16=True)
    assert Lip2Speech.from_pretrained(tmp_path / "out", device="cpu").vocoder_names == ["griffin-lim"]
