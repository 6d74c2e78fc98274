"""The likelihood of codes (lip2speech/models/code_prior.py): the masks hide what they must and nothing else."""

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


def voice(batch: int) -> Tensor:
    return torch.randn(batch, 3, generator=torch.Generator().manual_seed(2))


def reached(network: CodePrior, t: int, q: int) -> set[tuple[int, int]]:
    """Which places (t, q) the logits of one place have a gradient to that is not exactly 0."""
    kept: list[Tensor] = []

    def keep(_: object, __: object, x: Tensor) -> Tensor:
        kept.append(x.detach().requires_grad_())
        return kept[0]

    handle = network.embed.register_forward_hook(keep)  # type: ignore[arg-type]
    network(codes(1, STEPS), voice(1))[0, q, :, t].square().sum().backward()
    handle.remove()
    assert kept[0].grad is not None
    return {(int(i), int(j)) for j, i in kept[0].grad[0].abs().sum(-1).nonzero()}  # (n_q, T)


def earlier(t: int, q: int) -> set[tuple[int, int]]:
    return {(i, j) for i in range(STEPS) for j in range(4) if (i, j) < (t, q)}


@pytest.mark.parametrize("kind", ["gated", "plain"])
def test_books_of_different_sizes_are_told_within_their_own(kind: str) -> None:
    network = build(type=kind, n_q=2, codebook_size=(3, 8), speaker_dim=0)
    given = torch.stack([torch.arange(6) % 3, torch.arange(6) + 2])[None]
    logits = network(given)
    assert logits.shape == (1, 2, 8, 6)
    assert (logits[:, 0, 3:] == -torch.inf).all() and logits[:, 0, :3].isfinite().all()
    assert logits[:, 1].isfinite().all() and network.bits(given).isfinite().all()
    with pytest.raises(ValueError, match=r"codes must be 0 .. 2, got 2 .. 7"):
        network(given.flip(1))


@pytest.mark.parametrize("q", range(4))
@pytest.mark.parametrize("t", range(STEPS))
def test_the_gated_one_is_given_all_that_is_earlier_and_nothing_else(t: int, q: int) -> None:
    assert reached(build(), t, q) == earlier(t, q)


@pytest.mark.parametrize("q", range(4))
@pytest.mark.parametrize("t", range(STEPS))
def test_the_plain_one_leaks_nothing_and_has_a_blind_spot(t: int, q: int) -> None:
    found = reached(build(type="plain"), t, q)
    assert found <= earlier(t, q)
    if t:  # three columns wide: one book to the right for each row back
        assert found == {(i, j) for i, j in earlier(t, q) if j <= q + t - i}


@pytest.mark.parametrize("kind", ["gated", "plain"])
def test_a_changed_code_changes_later_logits_alone(kind: str) -> None:
    network, first = build(type=kind), codes(2, STEPS)
    other = first.clone()
    other[:, 2, 3] = (other[:, 2, 3] + 1) % 8
    a, b = (network(x, voice(2)).permute(0, 3, 1, 2).flatten(1, 2) for x in (first, other))
    assert torch.equal(a[:, : 3 * 4 + 3], b[:, : 3 * 4 + 3])
    assert not torch.allclose(a[:, 3 * 4 + 3], b[:, 3 * 4 + 3])


@pytest.mark.parametrize(
    ("own", "row"), [("none", [0, 0, 0]), ("before", [1, 0, 0]), ("upto", [1, 1, 0]), ("all", [1, 1, 1])]
)
def test_a_mask_hides_the_columns_it_names(own: str, row: list[float]) -> None:
    conv = MaskedConv2d(1, 1, 2, 3, own)  # type: ignore[arg-type]
    assert conv.mask.tolist() == [[1, 1, 1], row]
    spike = torch.zeros(1, 1, 4, 5)
    spike[..., 1, 2] = 1
    with torch.no_grad():
        conv.weight.fill_(1)
        conv.bias.zero_()  # type: ignore[union-attr]
        seen = conv(spike)[0, 0]
    assert seen[1].tolist() == [0, *reversed(row), 0]
    assert seen[2].tolist() == [0, 1, 1, 1, 0] and not seen[0].any() and not seen[3].any()


@pytest.mark.parametrize("kind", ["gated", "plain"])
@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_code_has_logits_and_bits(kind: str, batch: int, steps: int) -> None:
    network = build(type=kind)
    assert network(codes(batch, steps), voice(batch)).shape == (batch, 4, 8, steps)
    bits = network.bits(codes(batch, steps), voice(batch))
    assert bits.shape == (batch, 4, steps) and (bits > 0).all()


def test_all_grids_together_have_probability_1() -> None:
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
def test_voice_and_book_are_heard(kind: str) -> None:
    network = build(type=kind)
    assert not torch.allclose(network(codes(1, 2), voice(1)), network(codes(1, 2), -voice(1)))
    with torch.no_grad():
        before = network(codes(1, 1), voice(1))
        for block in network.blocks:  # type: ignore[union-attr]
            block.bias.codebook[..., 1] += 1.0  # type: ignore[union-attr, index]
        after = network(codes(1, 1), voice(1))
    assert not torch.allclose(before[:, 1], after[:, 1])


@pytest.mark.parametrize("kind", ["gated", "plain"])
def test_every_weight_learns(kind: str) -> None:
    network = build(type=kind, codebook_size=3)
    grid = codes(4, 40) % 3
    bits_per_code(network(grid, voice(4)), grid).mean().backward()
    idle = [name for name, w in network.named_parameters() if w.grad is None or not w.grad.any()]
    assert idle == []


def structured(count: int, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Grids (count, 4, steps) of 8 codes by rule, and the voices (count, 3) that the rule depends on.

    Nine in ten codes follow: book 0 from the last book of the row before and from the voice, book 1 from book
    0, book 3 from book 2, which is free.
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


def trained(network: CodePrior, updates: int) -> float:
    """Bits per token of structured grids that were not trained on."""
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
    """A gated network that has learned the structured grids, and its bits for a code of others."""
    network = build(channels=24, layers=2)
    return network, trained(network, 120)


def test_gates_save_bits_on_the_same_tokens(learned: tuple[CodePrior, float]) -> None:
    gated, plain = learned[0], build(type="plain", channels=48, layers=2)
    sizes = [sum(w.numel() for w in x.parameters()) for x in (gated, plain)]
    assert isinstance(gated, GatedPixelCNN) and isinstance(plain, PixelCNN) and sizes[0] < sizes[1], sizes
    bits = [learned[1], trained(plain, 120)]
    assert bits[0] < bits[1] - 0.15 and bits[1] < 3.0, bits


def test_the_same_codes_in_another_order_cost_more(learned: tuple[CodePrior, float]) -> None:
    grids, voices = structured(32, 16, seed=1)
    right = learned[0].bits(grids, voices).mean((1, 2))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    for turned in (grids[..., order], grids.flip(1)):  # of time, of books
        more = learned[0].bits(turned, voices).mean((1, 2)) - right
        assert more.mean() > 0.5 and (more > 0).float().mean() > 0.9


@pytest.mark.parametrize("kind", ["gated", "plain"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [2, 3])
def test_codes_that_come_in_chunks_cost_what_they_cost_at_once(kind: str, chunk: int, rows: int) -> None:
    network, grid = build(type=kind, kernel_time=rows), codes(2, 19)
    pieces, state = [], None
    with torch.no_grad():
        for piece in grid.split(chunk, 2):
            logits, state = network.step(piece, voice(2), state)
            pieces.append(bits_per_code(logits, piece))
            assert [tuple(kept.shape) for kept in state] == [(2, 12, rows - 1, 4)] * 3
    torch.testing.assert_close(torch.cat(pieces, 2), network.bits(grid, voice(2)), rtol=0, atol=1e-5)


def test_a_frame_of_two_windows_counts_once() -> None:
    count = RunningBits()
    assert count.mean is None
    count.add(0, torch.tensor([1.0, 2.0, 3.0]))
    count.add(1, torch.tensor([9.0, 9.0, 4.0]))
    count.add(3, torch.tensor([9.0]))
    assert count.mean == 2.5


@pytest.mark.parametrize(
    ("grid", "vector", "message"),
    [
        (
            torch.zeros(1, 3, 5, dtype=torch.long),
            torch.zeros(1, 3),
            r"codes must be \(B, 4, T\), got \(1, 3, 5\)",
        ),
        (torch.full((1, 4, 5), 8), torch.zeros(1, 3), "codes must be 0 .. 7, got 8 .. 8"),
        (torch.full((1, 4, 5), -1), torch.zeros(1, 3), "codes must be 0 .. 7, got -1 .. -1"),
        (torch.zeros(1, 4, 5, dtype=torch.long), None, "the vector must have 3 numbers, got 0"),
        (torch.zeros(1, 4, 5, dtype=torch.long), torch.zeros(1, 9), "the vector must have 3 numbers, got 9"),
    ],
)
def test_codes_and_voices_of_another_model_are_refused(
    grid: Tensor, vector: Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build()(grid, vector)


def test_a_kernel_that_sees_no_row_before_is_refused() -> None:
    with pytest.raises(ValueError, match="rows must be 2 or more, columns odd .*got 1, 3 and 3"):
        replace(TINY, kernel_time=1)
    with pytest.raises(ValueError, match="columns odd"):
        replace(TINY, kernel_codebook=4)


@pytest.mark.parametrize("kind", ["gated", "plain"])
def test_a_folder_gives_the_bits_of_the_network_that_was_saved(kind: str, tmp_path: Path) -> None:
    network = build(type=kind)
    values = {"kind": "code_prior", "code_prior": to_dict(network.config), "codec": "c", "speaker": "s"}
    checkpoint.save(tmp_path / "net", values, network.state_dict(), "# Card\n")
    loaded = load_code_prior(tmp_path / "net")
    assert torch.equal(loaded.bits(codes(1, 5), voice(1)), network.bits(codes(1, 5), voice(1)))
    assert not loaded.training


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "codec", {"kind": "codec"}, {"a": torch.zeros(1)}, "card")
    with pytest.raises(checkpoint.CheckpointError, match="holds 'codec', expected a likelihood"):
        load_code_prior(tmp_path / "codec")
    values = {"kind": "code_prior", "code_prior": {"layer": 3}, "codec": "c", "speaker": "s"}
    checkpoint.save(tmp_path / "wrong", values, {"a": torch.zeros(1)}, "card")
    with pytest.raises(
        checkpoint.CheckpointError, match="the likelihood's config is wrong .*did you mean layers"
    ):
        load_code_prior(tmp_path / "wrong")


def test_an_untrained_network_knows_next_to_nothing() -> None:
    assert float(build().bits(codes(8, 20), voice(8)).mean()) == pytest.approx(math.log2(8), abs=0.3)
