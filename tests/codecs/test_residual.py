"""Residual quantizer: codes and training (lip2speech/codecs/quantization/residual.py)."""

import pytest
import torch
from torch import Tensor

from lip2speech.codecs.quantization import QuantizerConfig, ResidualVQ
from tests.codecs import golden

SMALL = QuantizerConfig(n_q=3, codebook_size=16, codebook_dim=4)


def latent(frames: int = 40, batch: int = 2, dim: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(batch, dim, frames, generator=torch.Generator().manual_seed(seed))


def trained(config: QuantizerConfig = SMALL) -> ResidualVQ:
    torch.manual_seed(0)
    quantizer = ResidualVQ(config)
    quantizer.init_codebooks(latent(200))
    return quantizer.eval()


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("n_q", [1, 2, 3])
def test_codes_have_one_row_per_codebook(batch, frames, n_q):
    codes = trained().encode(latent(frames, batch), n_q)
    assert codes.shape == (batch, n_q, frames)
    assert codes.dtype == torch.int64
    assert codes.min() >= 0
    assert codes.max() < 16


def test_codes_match_a_search_in_loops():
    quantizer, z = trained(), latent(5)
    codes = quantizer.encode(z)
    for item in range(2):
        for frame in range(5):
            rest = z[item, :, frame].clone()
            for stage, codebook in enumerate(quantizer.codebooks):
                distances = [(rest - entry).pow(2).sum().item() for entry in codebook.entries]
                nearest = min(range(16), key=distances.__getitem__)
                assert codes[item, stage, frame] == nearest
                rest -= codebook.entries[nearest]


def test_decoding_codes_gives_the_quantized_latent_of_forward():
    quantizer, z = trained(), latent()
    quantized, codes, _ = quantizer(z)
    assert torch.equal(codes, quantizer.encode(z))
    torch.testing.assert_close(quantizer.decode(codes), quantized, rtol=0, atol=1e-6)


def test_every_further_codebook_reduces_the_error():
    quantizer, z = trained(), latent()
    errors = [(quantizer.decode(quantizer.encode(z, n)) - z).pow(2).mean().item() for n in (1, 2, 3)]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("name", golden.RVQS)
def test_codes_match_the_official_quantizer(name):
    worst = max(golden.rvq_rows(name), key=lambda row: row[1])
    assert worst[1] <= 1, worst


@pytest.mark.parametrize("name", golden.RVQS)
def test_a_training_step_updates_the_codebooks_like_the_official_one(name):
    quantizer, tensors = golden.rvq(name)
    quantized, codes, loss = quantizer.train()(tensors["z"])
    after, _ = golden.rvq(name, "after.")
    assert golden.wrong_codes(codes.transpose(0, 1), tensors["train.codes"], tensors["margin"]) == 0
    assert golden.distance(quantized, tensors["train.quantized"]) <= 1
    torch.testing.assert_close(loss, tensors["train.penalty"][0], rtol=1e-5, atol=0)
    for key, value in after.state_dict().items():
        torch.testing.assert_close(quantizer.state_dict()[key], value, rtol=0, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", golden.RVQS)
def test_later_codebooks_give_the_encoder_a_gradient_unlike_the_official_code(name):
    """The golden gradient has the first stage's commitment only; ours is that plus the later stages'."""
    quantizer, tensors = golden.rvq(name)
    z = tensors["z"].clone().requires_grad_()
    quantized, codes, loss = quantizer(z)
    ((quantized * tensors["train.grad_out"]).sum() + loss).backward()
    n_q = quantizer.config.n_q
    later = torch.zeros_like(z)
    for n in range(2, n_q + 1):
        later += 2 * (tensors["z"] - quantizer.decode(codes[:, :n])) / z.numel() / n_q
    assert later.abs().max() > 1e-4
    torch.testing.assert_close(z.grad, tensors["train.grad_z"] + later, rtol=0, atol=1e-6)


def test_codebooks_follow_the_latents_in_training_only():
    quantizer, z = trained(), latent(seed=3) + 2
    before = [codebook.entries.clone() for codebook in quantizer.codebooks]
    error = quantizer(z)[2].item()
    assert all(torch.equal(a, b.entries) for a, b in zip(before, quantizer.codebooks, strict=True))
    quantizer.train()
    for _ in range(50):
        quantizer(z)
    assert not any(torch.equal(a, b.entries) for a, b in zip(before, quantizer.codebooks, strict=True))
    assert quantizer.eval()(z)[2].item() < error / 2


def test_the_first_training_batch_initializes_the_codebooks():
    torch.manual_seed(0)
    quantizer, z = ResidualVQ(SMALL).train(), latent(100) * 30 + 100
    assert quantizer(z)[2].item() < z.var().item() / 2
    assert all(codebook.inited.item() == 1 for codebook in quantizer.codebooks)


def test_dropped_stages_neither_contribute_nor_learn():
    quantizer, z = trained(), latent(batch=2)
    n_q = torch.tensor([1, 3])
    quantized, codes, _ = quantizer(z, n_q)
    assert (codes[0, 1:] == -1).all()
    torch.testing.assert_close(quantized[:1], quantizer.decode(codes[:1, :1]), rtol=0, atol=1e-6)
    torch.testing.assert_close(quantized[1:], quantizer.decode(codes[1:]), rtol=0, atol=1e-6)
    counts = quantizer.codebooks[2].cluster_size.clone()
    quantizer.train()(z, torch.tensor([1, 1]))
    assert torch.equal(quantizer.codebooks[2].cluster_size, counts)


def test_the_loss_of_a_stage_covers_only_the_items_that_use_it():
    quantizer, z = trained(), latent(batch=2)
    _, _, both = quantizer(z, torch.tensor([1, 1]))
    rest = z - quantizer.decode(quantizer.encode(z, 1))
    torch.testing.assert_close(both, rest.pow(2).mean() / 3)


def test_codes_are_searched_in_float32_under_autocast():
    quantizer, z = trained(), latent()
    with torch.autocast("cpu", torch.bfloat16):
        _, codes, loss = quantizer(z.bfloat16().float())
    assert torch.equal(codes, quantizer.encode(z.bfloat16().float()))
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.zeros(1, 4, 7).long(), r"codes must be \(B, n_q, T\) with n_q <= 3, got \(1, 4, 7\)"),
        (torch.zeros(3, 7).long(), r"codes must be \(B, n_q, T\) with n_q <= 3, got \(3, 7\)"),
        (torch.full((1, 2, 7), 16), r"codes must be in 0..15, got 16..16"),
        (torch.full((1, 2, 7), -1), r"codes must be in 0..15, got -1..-1"),
        (torch.zeros(1, 2, 7), "integers, got torch.float32; pass a latent to decode_latent"),
    ],
)
def test_invalid_codes_are_refused(codes, message):
    with pytest.raises(ValueError, match=message):
        trained().decode(codes)


@pytest.mark.parametrize("n_q", [0, 4])
def test_a_wrong_number_of_codebooks_is_refused(n_q):
    with pytest.raises(ValueError, match=f"n_q must be in 1..3, got {n_q}"):
        trained().encode(latent(), n_q)
