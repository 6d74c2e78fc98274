"""HuBERT: parity with the official code, frame rate, layers (lip2speech/models/hubert.py)."""

import json
import math
from pathlib import Path

import pytest
import torch

from lip2speech import checkpoint
from lip2speech.models.hubert import (
    ConvFeatureExtractor,
    Hubert,
    HubertConfig,
    frame_mask,
    hubert_from_checkpoint,
)
from tests.models.hubert_golden import KEYS, TOLERANCE, all_rows, padded_batch, stored

TINY = HubertConfig(
    conv_dim=8, encoder_layers=2, embed_dim=16, ffn_dim=16, heads=2, conv_pos=4, conv_pos_groups=2
)


@pytest.fixture(scope="module")
def tiny() -> Hubert:
    torch.manual_seed(0)
    return Hubert(TINY).eval()


def test_every_stored_tensor_equals_the_official_code() -> None:
    rows = list(all_rows())
    assert {name for name, _, _ in rows} == {"conv", "layer1", "layer2", "layer3", "padded_last"}
    for name, error, share in rows:
        assert error < 1e-4, f"{name}: {error:.1e}"
        assert share < TOLERANCE, f"{name}: {share:.1e}"


def test_the_frame_mask_equals_the_official_code() -> None:
    _, mask = padded_batch()
    assert frame_mask(mask, 38).equal(stored()["padded_mask"].bool())


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize(("samples", "frames"), [(400, 1), (719, 1), (720, 2), (12345, 38)])
def test_frames_follow_the_arithmetic_of_the_convolutions(
    tiny: Hubert, batch: int, samples: int, frames: int
) -> None:
    assert tiny(torch.zeros(batch, 1, samples)).shape == (batch, frames, 16)


def test_the_receptive_field_is_400_samples() -> None:
    extractor = ConvFeatureExtractor(4, TINY.conv_kernels, TINY.conv_strides)
    assert extractor.receptive_field == 400
    extractor.norm = torch.nn.Identity()  # type: ignore[assignment]  # it sees the whole input
    wav = torch.randn(1, 1, 1040, requires_grad=True)
    extractor(wav)[0, :, 1].sum().backward()
    assert wav.grad is not None
    inputs = wav.grad[0, 0].nonzero().flatten()
    assert int(inputs.min()) >= 320
    assert int(inputs.max()) < 720


@torch.no_grad()
def test_layers_are_counted_from_1(tiny: Hubert) -> None:
    wav = torch.randn(1, 1, 2000)
    layers = tiny.hidden_states(wav)
    assert len(layers) == 2
    for number, features in enumerate(layers, 1):
        torch.testing.assert_close(tiny.extract_features(wav, number), features, rtol=0, atol=1e-6)
    assert not layers[0].equal(layers[1])
    assert tiny(wav).equal(layers[1])


@pytest.mark.parametrize("layer", [0, 3, -1])
def test_a_missing_layer_is_refused(tiny: Hubert, layer: int) -> None:
    with pytest.raises(ValueError, match=rf"layer must be in 1\.\.2, got {layer}"):
        tiny.extract_features(torch.zeros(1, 1, 2000), layer)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2000,), r"wav must be \(B, 1, T_a\), got \(2000,\)"),
        ((1, 2, 2000), r"got \(1, 2, 2000\)"),
        ((0, 1, 2000), r"got \(0, 1, 2000\)"),
        ((1, 1, 399), "at least 400 samples, got 399"),
    ],
)
def test_other_shapes_are_refused(tiny: Hubert, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(torch.zeros(shape))


def test_a_mask_of_another_length_is_refused(tiny: Hubert) -> None:
    with pytest.raises(ValueError, match=r"padding_mask must be bool \(1, 2000\)"):
        tiny(torch.zeros(1, 1, 2000), torch.zeros(1, 6, dtype=torch.bool))


def test_kernels_and_strides_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one number for each convolution"):
        HubertConfig(conv_kernels=(10, 3), conv_strides=(5,))


def test_equal_widths_need_no_projection() -> None:
    model = Hubert(HubertConfig(**{**vars(TINY), "conv_dim": 16}))
    assert not [name for name in model.state_dict() if name.startswith("proj.")]


def test_the_defaults_are_the_published_base_model() -> None:
    with torch.device("meta"):
        model = Hubert(HubertConfig())
    keys = json.loads(KEYS.read_text())
    clusters = ("final_proj", "label_embs", "mask_emb")  # of pretraining alone
    sizes = [math.prod(shape) for name, shape in keys.items() if not name.startswith(clusters)]
    assert sorted(p.numel() for p in model.parameters()) == sorted(sizes)
    assert sum(sizes) == 94_370_944  # the paper's table I: 95 million
    assert model.config.hop_length == 320


def test_a_folder_of_another_kind_is_refused(tmp_path: Path, tiny: Hubert) -> None:
    checkpoint.save(tmp_path / "x", {"kind": "codec"}, tiny.state_dict(), "")
    with pytest.raises(ValueError, match="holds 'codec', expected 'hubert'"):
        hubert_from_checkpoint(checkpoint.load(tmp_path / "x"))
