"""Factorized, L2-normalized codes (lip2speech/codecs/quantization/factorized.py)."""

import torch
from torch import Tensor

from lip2speech.codecs.quantization import ResidualVQ
from lip2speech.codecs.quantization.codebooks import QuantizerConfig
from lip2speech.codecs.quantization.factorized import FactorizedCodebook

CONFIG = QuantizerConfig(n_q=3, codebook_size=16, codebook_dim=12, kind="factorized", factorized_dim=3)


def latent(frames: int = 100, seed: int = 0) -> Tensor:
    return torch.randn(2, 12, frames, generator=torch.Generator().manual_seed(seed))


def initialized() -> ResidualVQ:
    torch.manual_seed(0)
    quantizer = ResidualVQ(CONFIG)
    quantizer.init_codebooks(latent(200))
    return quantizer.eval()


def codebook() -> FactorizedCodebook:
    torch.manual_seed(0)
    return FactorizedCodebook(CONFIG)


def test_entries_are_compared_by_angle_only():
    quantizer, x = codebook(), torch.randn(50, 12, generator=torch.Generator().manual_seed(1))
    low = quantizer.in_proj(x)
    by_loop = [
        max(
            range(16), key=lambda k: float(torch.cosine_similarity(row, quantizer.entries[k], dim=0).detach())
        )
        for row in low
    ]
    assert quantizer.quantize(x).tolist() == by_loop
    with torch.no_grad():
        quantizer.entries *= torch.linspace(0.1, 10, 16)[:, None]
    assert quantizer.quantize(x).tolist() == by_loop


def test_decoding_codes_gives_the_quantized_latent_of_forward():
    quantizer, z = initialized(), latent()
    quantized, codes, _ = quantizer(z)
    assert torch.equal(codes, quantizer.encode(z))
    torch.testing.assert_close(quantizer.decode(codes), quantized, rtol=0, atol=1e-5)


def test_the_decoder_gradient_reaches_projections_and_encoder():
    quantizer, z = initialized(), latent().requires_grad_()
    quantized, _, _ = quantizer(z)
    quantized.square().sum().backward()
    assert z.grad.abs().max() > 0
    for stage in quantizer.codebooks:
        assert stage.in_proj.weight.grad.abs().max() > 0
        assert stage.out_proj.weight.grad.abs().max() > 0
        assert stage.entries.grad is None


def test_the_loss_of_a_later_stage_reaches_the_encoder_but_not_earlier_stages():
    quantizer, z = initialized(), latent().requires_grad_()
    loss = quantizer.quantize(z)[2][2]
    loss.backward()
    first, second, third = quantizer.codebooks
    assert z.grad.abs().max() > 0
    assert third.in_proj.weight.grad.abs().max() > 0
    assert not any(p.grad is not None and p.grad.any() for p in (*first.parameters(), *second.parameters()))


def test_entries_learn_from_their_loss_only():
    quantizer = initialized()
    quantizer(latent())[2].backward()
    assert all(stage.entries.grad.abs().max() > 0 for stage in quantizer.codebooks)
    assert all(stage.out_proj.weight.grad is None for stage in quantizer.codebooks)


def test_training_reduces_the_quantization_error():
    quantizer, z = initialized().train(), latent()
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.01)
    errors = []
    for _ in range(60):
        quantized, _, loss = quantizer(z)
        error = (quantized - z).square().mean()
        errors.append(error.item())
        optimizer.zero_grad()
        (error + loss).backward()
        optimizer.step()
    assert errors[-1] < 0.5 * errors[0]


def test_the_first_training_batch_initializes_the_entries():
    torch.manual_seed(0)
    quantizer = ResidualVQ(CONFIG).train()
    z = 5 + latent()
    quantizer(z)
    (first, *_) = quantizer.codebooks
    assert all(stage.initialized for stage in quantizer.codebooks)
    low = first.in_proj(z.transpose(1, 2).reshape(-1, 12))
    assert (low.min(0).values <= first.entries).all()
    assert (first.entries <= low.max(0).values).all()


def test_a_dead_entry_is_replaced_by_a_latent_of_the_batch():
    quantizer = initialized().train()
    (first, *_) = quantizer.codebooks
    with torch.no_grad():
        first.entries[5] = -1000 * first.entries[4]
        first.cluster_size[5] = 0
    x = latent().transpose(1, 2).reshape(-1, 12)
    quantizer(latent())
    distance = (first.in_proj(x) - first.entries[5]).abs().amax(1).min()
    assert distance < 1e-6


def test_dropped_stages_do_not_contribute():
    quantizer, z = initialized(), latent()
    quantized, codes, _ = quantizer(z, torch.tensor([1, 3]))
    assert (codes[0, 1:] == -1).all()
    torch.testing.assert_close(quantized[:1], quantizer.decode(codes[:1, :1]), rtol=0, atol=1e-5)
