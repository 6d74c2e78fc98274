"""SimVQ and the semantic codebook, alone and in SACodec (lip2speech/codecs/quantization/simvq.py)."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lip2speech.codecs.quantization import SemanticAcousticQuantizer
from lip2speech.codecs.quantization.codebooks import Codebook, QuantizerConfig, VQVAECodebook
from lip2speech.codecs.quantization.simvq import (
    SemanticCodebook,
    SemanticCodebookConfig,
    SimVQCodebook,
    SimVQConfig,
)
from tests.codecs import golden


def latent(frames: int = 200, dim: int = 6) -> Tensor:
    """Far from the origin, where a random initialization leaves most entries unused."""
    return 3 + torch.randn(2, dim, frames, generator=torch.Generator().manual_seed(0))


def tiny_quantizer() -> SemanticAcousticQuantizer:
    torch.manual_seed(0)
    quantizer = SemanticAcousticQuantizer(SemanticCodebookConfig(10, 4), SimVQConfig(16, 6, bias=False))
    quantizer.semantic.set_centroids(torch.randn(10, 4))
    return quantizer


def train(quantizer: SemanticAcousticQuantizer, steps: int) -> None:
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.03)
    for _ in range(steps):
        loss = quantizer.train()(latent())[2].sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_forward_and_backward_match_the_official_simvq():
    codebook, tensors = golden.simvq(golden.SIMVQ)
    z = tensors["z"].clone().requires_grad_()
    rows = z.transpose(1, 2).reshape(-1, 16)
    chosen, codes, loss = codebook.quantize_train(rows)
    assert torch.equal(codes.view(2, 40), tensors["codes"])
    quantized = chosen.view(2, 40, 16).transpose(1, 2)
    assert golden.distance(quantized, tensors["zq"]) <= 1
    torch.testing.assert_close(loss.mean(), tensors["commitment"][0], rtol=1e-6, atol=1e-6)
    straight_passed_through = z + (quantized - z).detach()
    ((straight_passed_through * tensors["grad_out"]).sum() + loss.mean()).backward()
    assert golden.distance(z.grad, tensors["grad_z"]) <= 1
    assert golden.distance(codebook.proj.weight.grad, tensors["grad.embedding_proj.weight"]) <= 1
    assert golden.distance(codebook.proj.bias.grad, tensors["grad.embedding_proj.bias"]) <= 1


def test_encoding_and_decoding_match_the_sacodec_equations():
    worst = max(golden.dual_rows(), key=lambda row: row[1])
    assert worst[1] <= 1, worst


def test_the_training_pass_matches_the_sacodec_equations():
    quantizer, tensors = golden.dual(golden.DUAL)
    quantized, codes, _ = quantizer(tensors["h"].transpose(1, 2))
    assert torch.equal(codes, torch.stack([tensors["codes1"], tensors["codes2"]], 1))
    assert golden.distance(quantized.transpose(1, 2), tensors["e_final"]) <= 1


def test_only_the_projection_learns_and_the_frozen_table_is_unchanged():
    quantizer = tiny_quantizer()
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    train(quantizer, 20)
    after = quantizer.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in after if name.endswith("frozen"))
    assert not any(torch.equal(after[name], before[name]) for name in after if ".proj." in name)
    assert {name.split(".", 2)[2] for name, _ in quantizer.named_parameters()} == {"proj.weight", "proj.bias"}


def test_a_step_on_one_entry_moves_all_of_them():
    torch.manual_seed(0)
    codebook = SimVQCodebook(SimVQConfig(8, 4))
    before = codebook.table().detach()
    _, _, loss = codebook.quantize_train(torch.ones(1, 4))
    loss.sum().backward()
    with torch.no_grad():
        for p in codebook.parameters():
            p -= 0.1 * p.grad
    assert (codebook.table() - before).abs().amax(1).min() > 1e-4


def test_more_entries_stay_in_use_than_in_a_vqvae_codebook():
    torch.manual_seed(0)
    x = 2 + torch.randn(2000, 16)
    together = SimVQCodebook(SimVQConfig(64, 16))
    alone = VQVAECodebook(QuantizerConfig(codebook_size=64, codebook_dim=16))
    with torch.no_grad():
        alone.entries.copy_(together.table())
    assert used_after_training(together, x) >= 2 * used_after_training(alone, x)


def used_after_training(codebook: Codebook, x: Tensor) -> int:
    """Entries that rows of x choose after 200 steps of their loss."""
    optimizer = torch.optim.Adam(codebook.parameters(), lr=0.01)
    for _ in range(200):
        loss = codebook.quantize_train(x)[2].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return len(codebook.quantize(x).unique())


def test_both_codebooks_and_the_encoder_learn_from_the_two_losses():
    quantizer, z = tiny_quantizer(), latent().requires_grad_()
    quantized, codes, losses = quantizer(z)
    assert codes.shape == (2, 2, 200)
    assert losses.shape == (2,)
    grads = [torch.autograd.grad(loss, z, retain_graph=True)[0] for loss in losses]
    assert all(grad.abs().max() > 0 for grad in grads)
    first, second = quantizer.codebooks
    # The semantic entries are constants in the residual.
    assert not torch.autograd.grad(losses[1], first.proj.weight, retain_graph=True)[0].any()
    assert torch.autograd.grad(losses[1], second.proj.weight, retain_graph=True)[0].abs().max() > 0
    (passed_through,) = torch.autograd.grad(quantized.sum(), z)
    assert torch.equal(passed_through, torch.ones_like(z))


def test_the_losses_match_a_loop():
    quantizer, z = tiny_quantizer(), latent(5)
    _, codes, losses = quantizer(z)
    rest, expected = z, []
    for i, codebook in enumerate(quantizer.codebooks):
        chosen = codebook.dequantize(codes[:, i]).transpose(1, 2)
        expected.append(1.25 * F.mse_loss(rest, chosen))
        rest = rest - chosen
    torch.testing.assert_close(losses, torch.stack(expected))


def test_the_first_code_alone_decodes_to_the_semantic_entry():
    quantizer, z = tiny_quantizer(), latent()
    codes = quantizer.encode(z, 1)
    assert codes.shape == (2, 1, 200)
    torch.testing.assert_close(
        quantizer.decode(codes).transpose(1, 2), quantizer.semantic.table()[codes[:, 0]]
    )


def test_codes_are_checked_against_the_size_of_their_codebook():
    quantizer = tiny_quantizer()
    quantizer.decode(torch.tensor([[[9], [15]]]))
    with pytest.raises(ValueError, match=r"codes must be in 0..9, got 10..10 in codebook 1"):
        quantizer.decode(torch.tensor([[[10], [15]]]))


def test_centroids_of_another_shape_are_refused():
    codebook = SemanticCodebook(SemanticCodebookConfig(10, 4), 6)
    with pytest.raises(
        ValueError, match=r"centroids \(9, 4\), .* expects \(10, 4\); set semantic.codebook_size"
    ):
        codebook.set_centroids(torch.zeros(9, 4))
