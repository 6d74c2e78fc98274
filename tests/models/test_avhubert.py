"""The AV-HuBERT encoder: parity with the official code, contract, padding, sizes, errors."""

import dataclasses
import re

import pytest
import torch
from torch import Tensor

from lip2speech.models.frontends.avhubert import SIZES, AVHubert, AVHubertConfig
from lip2speech.models.frontends.masked_prediction import MaskedPredictionHead, MaskedPredictionHeadConfig
from tests.models.golden import CASES, TOLERANCE, case_rows, finetuned_row

SMALL = AVHubertConfig(
    resnet_width=4, encoder_layers=2, embed_dim=32, ffn_dim=48, heads=4, conv_pos=8, conv_pos_groups=4
)


@pytest.fixture(scope="module")
def encoder() -> AVHubert:
    torch.manual_seed(0)
    return AVHubert(SMALL).eval()


def clips(batch: int, time: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch * 10 + time)
    video = torch.randn(batch, 1, time, 88, 88, generator=generator)
    return video, torch.randn(batch, 104, time, generator=generator)


@pytest.mark.parametrize("case", CASES)
def test_every_stored_tensor_equals_the_official_code(case: str) -> None:
    for _, name, difference in case_rows(case):
        assert difference < TOLERANCE, name


def test_the_finetuned_encoder_equals_the_official_code() -> None:
    assert finetuned_row()[-1] < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("time", [1, 2, 7])
def test_every_frame_has_one_finite_vector(encoder: AVHubert, batch: int, time: int) -> None:
    video, audio = clips(batch, time)
    for features in (encoder(video), encoder(None, audio), *encoder.hidden_states(video, audio)):
        assert features.shape == (batch, time, 32)
        assert features.dtype == torch.float32
        assert features.isfinite().all()
    assert len(encoder.hidden_states(video)) == 2


@torch.no_grad()
def test_a_padded_batch_equals_single_clips(encoder: AVHubert) -> None:
    video, audio = clips(3, 9)
    mask = torch.arange(9) >= torch.tensor([9, 4, 1])[:, None]
    together = encoder(video, audio, mask)  # the padded frames hold noise
    for row, length in enumerate((9, 4, 1)):
        alone = encoder(video[row : row + 1, :, :, :, :][:, :, :length], audio[row : row + 1, :, :length])
        torch.testing.assert_close(together[row, :length], alone[0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_mask_without_padding_does_not_change_the_output(encoder: AVHubert) -> None:
    video, _ = clips(2, 4)
    unmasked = encoder(video)
    masked = encoder(video, padding_mask=torch.zeros(2, 4, dtype=torch.bool))
    torch.testing.assert_close(masked, unmasked, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_output_of_padding_only_is_finite(encoder: AVHubert) -> None:
    video, _ = clips(2, 3)
    mask = torch.tensor([[False] * 3, [True] * 3])
    assert encoder(video, padding_mask=mask).isfinite().all()


@torch.no_grad()
def test_a_missing_modality_is_zeros_after_its_projection(encoder: AVHubert) -> None:
    video, _ = clips(1, 5)
    joined = torch.cat([torch.zeros(1, 5, 32), encoder.video_features(video)], dim=-1)
    expected = encoder.encoder(encoder.fusion_proj(encoder.fusion_norm(joined)))
    torch.testing.assert_close(encoder(video), expected)


@torch.no_grad()
def test_the_output_is_the_last_layer_after_the_final_norm(encoder: AVHubert) -> None:
    video, audio = clips(2, 4)
    torch.testing.assert_close(
        encoder(video, audio), encoder.encoder.norm(encoder.hidden_states(video, audio)[-1])
    )


@pytest.mark.parametrize("autocast", [False, True])
def test_every_weight_has_a_finite_gradient(autocast: bool) -> None:
    torch.manual_seed(0)
    encoder = AVHubert(dataclasses.replace(SMALL, layerdrop=0.0)).train()
    video, audio = clips(2, 5)
    mask = torch.arange(5) >= torch.tensor([5, 3])[:, None]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        features = encoder(video, audio, mask)
    features.float().square().sum().backward()
    lost = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not lost


@torch.no_grad()
def test_bf16_stays_close_to_fp32(encoder: AVHubert) -> None:
    video, audio = clips(1, 6)
    with torch.autocast("cpu", torch.bfloat16):
        low = encoder(video, audio)
    assert (low.float() - encoder(video, audio)).abs().mean() < 0.05


def test_layerdrop_one_skips_every_layer_in_training_only() -> None:
    torch.manual_seed(0)
    quiet = {"dropout": 0.0, "attention_dropout": 0.0, "dropout_input": 0.0}
    encoder = AVHubert(dataclasses.replace(SMALL, layerdrop=1.0, **quiet))
    _, audio = clips(1, 4)
    first, last = encoder.train().hidden_states(None, audio)
    assert first.equal(last)
    first, last = encoder.eval().hidden_states(None, audio)
    assert not first.equal(last)


@pytest.mark.parametrize(
    ("size", "expected"), [("tiny", 4_186_832), ("base", 102_620_288), ("large", 324_622_976)]
)
def test_base_and_large_have_the_published_number_of_weights(size: str, expected: int) -> None:
    """Base and large: the sum over the published files' encoder weights."""
    with torch.device("meta"):
        encoder = AVHubert(SIZES[size])
    assert sum(weight.numel() for weight in encoder.parameters()) == expected
    assert encoder.dim == SIZES[size].embed_dim


def test_cluster_logits_are_cosines_over_the_temperature() -> None:
    torch.manual_seed(0)
    head = MaskedPredictionHead(
        MaskedPredictionHeadConfig(embed_dim=6, final_dim=4, n_clusters=5, mask_dim=3)
    )
    features = torch.randn(2, 3, 6)
    expected = torch.cosine_similarity(head.proj(features)[:, :, None], head.embeddings, dim=-1) / 0.1
    torch.testing.assert_close(head(features), expected)
    assert head.mask_embedding.shape == (3,)


WRONG = {
    "neither video nor audio": (None, None, None),
    "video must be (B, 1, T, 88, 88), got (1, 4, 88, 88)": (torch.zeros(1, 4, 88, 88), None, None),
    "audio must be (B, 104, T), got (1, 4, 104)": (None, torch.zeros(1, 4, 104), None),
    "agree on (B, T), got video (1, 4), audio (1, 5)": (*clips(1, 4)[:1], torch.zeros(1, 104, 5), None),
    "padding_mask must be bool (B, T)": (None, torch.zeros(1, 104, 4), torch.zeros(1, 4)),
    "padding_mask (1, 5)": (None, torch.zeros(1, 104, 4), torch.zeros(1, 5, dtype=torch.bool)),
    "at least one frame": (None, torch.zeros(1, 104, 0), None),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_inputs_are_refused(encoder: AVHubert, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        encoder(*WRONG[message])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5}, "multiple of heads"),
        ({"conv_pos_groups": 5}, "conv_pos_groups"),
        ({"activation": "x"}, "one of"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AVHubert(dataclasses.replace(SMALL, **change))  # type: ignore[arg-type]


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 3])
def test_steps_of_a_causal_encoder_equal_one_pass_in_chunks(chunk: int) -> None:
    torch.manual_seed(0)
    live = AVHubert(dataclasses.replace(SMALL, causal=True, left_context=4)).eval()
    video, _ = clips(2, 7)
    chunks, state = [], None
    for part in video.split(chunk, 2):
        features, state = live.step(part, state)
        chunks.append(features)
    torch.testing.assert_close(torch.cat(chunks, 1), live(video, chunk=chunk), rtol=1e-5, atol=1e-5)
