"""The code prior (lip2speech/models/code_prior.py): masks hide later codes and nothing else."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.config import to_dict
from lip2speech.models.code_prior import (
    CodePrior,
    CodePriorConfig,
    GatedPixelCNN,
    MaskedConv2d,
    PixelCNN,
    RunningBits,
    bits_per_code,
    build_code_prior,
    load_code_prior,
)

TINY = CodePriorConfig(n_q=4, codebook_size=8, speaker_dim=3, channels=12, layers=3)
STEPS = 6


def build(**changes: object) -> CodePrior:
    torch.manual_seed(0)
    return build_code_prior(replace(TINY, **changes)).eval()  # type: ignore[arg-type]


def codes(batch: int, steps: int, seed: int = 1) -> Tensor:
    return torch.randint(8, (batch, 4, steps), generator=torch.Generator().manual_seed(seed))


def speaker(batch: int) -> Tensor:
    return torch.randn(batch, 3, generator=torch.Generator().manual_seed(2))


def receptive_field(network: CodePrior, t: int, q: int) -> set[tuple[int, int]]:
    """Positions (t, q) that the logits at one position have a nonzero gradient to."""
    embedded: list[Tensor] = []

    def require_grad(_: object, __: object, x: Tensor) -> Tensor:
        embedded.append(x.detach().requires_grad_())
        return embedded[0]

    handle = network.embed.register_forward_hook(require_grad)  # type: ignore[arg-type]
    network(codes(1, STEPS), speaker(1))[0, q, :, t].square().sum().backward()
    handle.remove()
    assert embedded[0].grad is not None
    return {(int(i), int(j)) for j, i in embedded[0].grad[0].abs().sum(-1).nonzero()}  # (n_q, T)


def earlier(t: int, q: int) -> set[tuple[int, int]]:
    return {(i, j) for i in range(STEPS) for j in range(4) if (i, j) < (t, q)}


@pytest.mark.parametrize("kind", ["gated", "plain"])
def test_codebooks_of_different_sizes_have_logits_for_their_own_entries(kind: str) -> None:
    network = build(type=kind, n_q=2, codebook_size=(3, 8), speaker_dim=0)
    given = torch.stack([torch.arange(6) % 3, torch.arange(6) + 2])[None]
    logits = network(given)
    assert logits.shape == (1, 2, 8, 6)
    assert (logits[:, 0, 3:] == -torch.inf).all()
    assert logits[:, 0, :3].isfinite().all()
    assert logits[:, 1].isfinite().all()
    assert network.bits(given).isfinite().all()
    with pytest.raises(ValueError, match=r"codes must be 0 .. 2, got 2 .. 7"):
        network(given.flip(1))


@pytest.mark.parametrize("q", range(4))
@pytest.mark.parametrize("t", range(STEPS))
def test_the_gated_network_sees_all_earlier_codes_and_no_others(t: int, q: int) -> None:
    assert receptive_field(build(), t, q) == earlier(t, q)


@pytest.mark.parametrize("q", range(4))
@pytest.mark.parametrize("t", range(STEPS))
def test_the_plain_network_sees_no_later_codes_and_has_a_blind_spot(t: int, q: int) -> None:
    found = receptive_field(build(type="plain"), t, q)
    assert found <= earlier(t, q)
    if t:  # kernels of three columns: one codebook to the right for each row above
        assert found == {(i, j) for i, j in earlier(t, q) if j <= q + t - i}


@pytest.mark.parametrize("kind", ["gated", "plain"])
def test_a_changed_code_changes_later_logits_only(kind: str) -> None:
    network, first = build(type=kind), codes(2, STEPS)
    other = first.clone()
    other[:, 2, 3] = (other[:, 2, 3] + 1) % 8
    a, b = (network(x, speaker(2)).permute(0, 3, 1, 2).flatten(1, 2) for x in (first, other))
    assert torch.equal(a[:, : 3 * 4 + 3], b[:, : 3 * 4 + 3])
    assert not torch.allclose(a[:, 3 * 4 + 3], b[:, 3 * 4 + 3])


@pytest.mark.parametrize(
    ("row_mask", "row"), [("none", [0, 0, 0]), ("A", [1, 0, 0]), ("B", [1, 1, 0]), ("all", [1, 1, 1])]
)
def test_a_masked_convolution_sees_its_columns_only(row_mask: str, row: list[float]) -> None:
    conv = MaskedConv2d(1, 1, (2, 3), row_mask)  # type: ignore[arg-type]
    assert conv.mask.tolist() == [[1, 1, 1], row]
    spike = torch.zeros(1, 1, 4, 5)
    spike[..., 1, 2] = 1
    with torch.no_grad():
        conv.weight.fill_(1)
        conv.bias.zero_()  # type: ignore[union-attr]
        response = conv(spike)[0, 0]
    assert response[1].tolist() == [0, *reversed(row), 0]
    assert response[2].tolist() == [0, 1, 1, 1, 0]
    assert not response[0].any()
    assert not response[3].any()


@pytest.mark.parametrize("kind", ["gated", "plain"])
@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_code_has_logits_and_bits(kind: str, batch: int, steps: int) -> None:
    network = build(type=kind)
    assert network(codes(batch, steps), speaker(batch)).shape == (batch, 4, 8, steps)
    bits = network.bits(codes(batch, steps), speaker(batch))
    assert bits.shape == (batch, 4, steps)
    assert (bits > 0).all()


def test_probabilities_of_all_grids_sum_to_1() -> None:
    network = build(n_q=2, codebook_size=2, speaker_dim=0)
    grids = torch.cartesian_prod(*[torch.arange(2)] * 6).reshape(64, 2, 3)
    probability = torch.exp2(-network.bits(grids).sum((1, 2)))
    torch.testing.assert_close(probability.sum(), torch.tensor(1.0))
    assert probability.std() > 0


def test_bits_of_known_logits() -> None:
    logits = torch.tensor([0.5, 0.25, 0.25]).log().reshape(1, 1, 3, 1).expand(1, 2, 3, 2)
    found = bits_per_code(logits, torch.tensor([[[0, 1], [2, 0]]]))
    torch.testing.assert_close(found, torch.tensor([[[1.0, 2.0], [2.0, 1.0]]]))


@pytest.mark.parametrize("kind", ["gated", "plain"])
def test_logits_depend_on_speaker_and_codebook(kind: str) -> None:
    network = build(type=kind)
    assert not torch.allclose(network(codes(1, 2), speaker(1)), network(codes(1, 2), -speaker(1)))
    with torch.no_grad():
        before = network(codes(1, 1), speaker(1))
        for block in network.blocks:  # type: ignore[union-attr]
            block.bias.codebook[..., 1] += 1.0  # type: ignore[union-attr, index]
        after = network(codes(1, 1), speaker(1))
    assert not torch.allclose(before[:, 1], after[:, 1])


@pytest.mark.parametrize("kind", ["gated", "plain"])
def test_every_weight_has_a_gradient(kind: str) -> None:
    network = build(type=kind, codebook_size=3)
    grid = codes(4, 40) % 3
    bits_per_code(network(grid, speaker(4)), grid).mean().backward()
    idle = [name for name, w in network.named_parameters() if w.grad is None or not w.grad.any()]
    assert idle == []


def structured(count: int, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Grids (count, 4, steps) of 8 codes by a rule, and the speakers (count, 3) that the rule depends on.

    Nine in ten codes follow the rule: codebook 0 from codebook 3 of the previous step and the speaker,
    codebook 1 from 0, codebook 3 from 2, which is random.
    """
    generator = torch.Generator().manual_seed(seed)
    grid = torch.randint(8, (count, 4, steps), generator=generator)
    kind = torch.randint(3, (count,), generator=generator)
    free = torch.rand(4, count, steps, generator=generator) < 0.1
    for t in range(1, steps):
        grid[:, 0, t] = torch.where(free[0, :, t], grid[:, 0, t], (grid[:, 3, t - 1] + 2 * kind) % 8)
        grid[:, 1, t] = torch.where(free[1, :, t], grid[:, 1, t], 7 - grid[:, 0, t])
        grid[:, 3, t] = torch.where(free[3, :, t], grid[:, 3, t], grid[:, 2, t])
    return grid, torch.nn.functional.one_hot(kind, 3).float()


def train_and_score(network: CodePrior, updates: int) -> float:
    """Bits per code of held-out structured grids."""
    adam = torch.optim.Adam(network.parameters(), lr=6e-3)
    grids, voices = structured(512, 16, seed=0)
    generator = torch.Generator().manual_seed(3)
    for _ in range(updates):
        chosen = torch.randint(512, (24,), generator=generator)
        loss = bits_per_code(network(grids[chosen], voices[chosen]), grids[chosen]).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return float(network.bits(*structured(64, 16, seed=1)).mean())


@pytest.fixture(scope="module")
def learned() -> tuple[CodePrior, float]:
    """A gated network trained on structured grids, and its bits per code on held-out ones."""
    network = build(channels=24, layers=2)
    return network, train_and_score(network, 120)


def test_the_gated_network_needs_fewer_bits_than_a_larger_plain_one(learned: tuple[CodePrior, float]) -> None:
    gated, plain = learned[0], build(type="plain", channels=48, layers=2)
    sizes = [sum(w.numel() for w in x.parameters()) for x in (gated, plain)]
    assert isinstance(gated, GatedPixelCNN)
    assert isinstance(plain, PixelCNN)
    assert sizes[0] < sizes[1]
    bits = [learned[1], train_and_score(plain, 120)]
    assert bits[0] < bits[1] - 0.15
    assert bits[1] < 3.0


def test_shuffled_codes_need_more_bits(learned: tuple[CodePrior, float]) -> None:
    grids, voices = structured(32, 16, seed=1)
    right = learned[0].bits(grids, voices).mean((1, 2))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    for shuffled in (grids[..., order], grids.flip(1)):  # in time, over codebooks
        more = learned[0].bits(shuffled, voices).mean((1, 2)) - right
        assert more.mean() > 0.5
        assert (more > 0).float().mean() > 0.9


@pytest.mark.parametrize("kind", ["gated", "plain"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [2, 3])
def test_steps_equal_one_pass(kind: str, chunk: int, rows: int) -> None:
    network, grid = build(type=kind, kernel_time=rows), codes(2, 19)
    chunks, state = [], None
    with torch.no_grad():
        for codes_chunk in grid.split(chunk, 2):
            logits, state = network.step(codes_chunk, speaker(2), state)
            chunks.append(bits_per_code(logits, codes_chunk))
            assert [tuple(kept.shape) for kept in state] == [(2, 12, rows - 1, 4)] * 3
    torch.testing.assert_close(torch.cat(chunks, 2), network.bits(grid, speaker(2)), rtol=0, atol=1e-5)


def test_a_frame_in_two_windows_counts_once() -> None:
    running = RunningBits()
    assert running.mean is None
    running.add(0, torch.tensor([1.0, 2.0, 3.0]))
    running.add(1, torch.tensor([9.0, 9.0, 4.0]))
    running.add(3, torch.tensor([9.0]))
    assert running.mean == 2.5


@pytest.mark.parametrize(
    ("grid", "embedding", "message"),
    [
        (
            torch.zeros(1, 3, 5, dtype=torch.long),
            torch.zeros(1, 3),
            r"codes must be \(B, 4, T\), got \(1, 3, 5\)",
        ),
        (torch.full((1, 4, 5), 8), torch.zeros(1, 3), "codes must be 0 .. 7, got 8 .. 8"),
        (torch.full((1, 4, 5), -1), torch.zeros(1, 3), "codes must be 0 .. 7, got -1 .. -1"),
        (torch.zeros(1, 4, 5, dtype=torch.long), None, "the speaker embedding must have 3 dimensions, got 0"),
        (
            torch.zeros(1, 4, 5, dtype=torch.long),
            torch.zeros(1, 9),
            "the speaker embedding must have 3 dimensions, got 9",
        ),
    ],
)
def test_codes_and_embeddings_of_other_sizes_are_refused(
    grid: Tensor, embedding: Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build()(grid, embedding)


def test_an_impossible_kernel_is_refused() -> None:
    with pytest.raises(
        ValueError, match="kernel_time must be 2 or more, kernel_codebook odd .*got 1, 3 and 3"
    ):
        replace(TINY, kernel_time=1)
    with pytest.raises(ValueError, match="kernel_codebook odd"):
        replace(TINY, kernel_codebook=4)


@pytest.mark.parametrize("kind", ["gated", "plain"])
def test_a_loaded_network_equals_the_saved_one(kind: str, tmp_path: Path) -> None:
    network = build(type=kind)
    values = {"kind": "code_prior", "code_prior": to_dict(network.config), "codec": "c", "speaker": "s"}
    checkpoint.save(tmp_path / "net", values, network.state_dict(), "# Card\n")
    loaded = load_code_prior(tmp_path / "net")
    assert torch.equal(loaded.bits(codes(1, 5), speaker(1)), network.bits(codes(1, 5), speaker(1)))
    assert not loaded.training


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "codec", {"kind": "codec"}, {"a": torch.zeros(1)}, "card")
    with pytest.raises(checkpoint.CheckpointError, match="holds 'codec', expected 'code_prior'"):
        load_code_prior(tmp_path / "codec")
    values = {"kind": "code_prior", "code_prior": {"layer": 3}, "codec": "c", "speaker": "s"}
    checkpoint.save(tmp_path / "wrong", values, {"a": torch.zeros(1)}, "card")
    with pytest.raises(
        checkpoint.CheckpointError, match="the code prior's config is wrong .*did you mean layers"
    ):
        load_code_prior(tmp_path / "wrong")


def test_an_untrained_network_needs_about_log2_of_the_codebook_size() -> None:
    assert float(build().bits(codes(8, 20), speaker(8)).mean()) == pytest.approx(math.log2(8), abs=0.3)
