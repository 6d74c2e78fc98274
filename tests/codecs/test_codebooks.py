"""Codebooks that follow what they quantise (lip2speech/codecs/quantization/codebooks.py)."""

import torch
from torch import Tensor

from lip2speech.codecs.quantization.codebooks import (
    EMACodebook,
    QuantizerConfig,
    kmeans,
    nearest,
    sample_rows,
)

CONFIG = QuantizerConfig(codebook_size=16, codebook_dim=4)


def rows(n: int = 80, seed: int = 0) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


def placed() -> EMACodebook:
    torch.manual_seed(0)
    codebook = EMACodebook(CONFIG)
    codebook.init_entries(rows(200))
    return codebook


def test_an_entry_that_nobody_uses_is_moved_into_the_batch_and_stays():
    codebook, x = placed(), rows()
    codebook.entries[5] = codebook.entries_sum[5] = 1000.0
    codebook.cluster_size[5] = 0.0
    for _ in range(2):
        codebook.follow(x, codebook.quantize(x))
        assert codebook.entries[5].abs().max() < 10
    assert (codebook.quantize(x) == 5).any()


def test_an_entry_in_use_is_not_moved_by_the_restart():
    codebook, x = placed(), rows(200)
    assert len(codebook.dead(len(x) / 16)) == 0


def test_a_batch_without_rows_teaches_nothing():
    codebook = placed()
    before = codebook.entries.clone()
    codebook.follow(rows(0), torch.zeros(0, dtype=torch.long))
    assert torch.equal(codebook.entries, before)


def test_the_start_places_every_entry_and_says_so():
    torch.manual_seed(0)
    codebook, x = EMACodebook(CONFIG), 100 + rows(200)
    assert not codebook.placed
    codebook.init_entries(x)
    assert codebook.placed
    assert (codebook.entries - 100).abs().max() < 10
    assert codebook.cluster_size.sum() == 200
    torch.testing.assert_close(codebook.entries_sum.sum(0), x.sum(0))


def test_the_nearest_entry_is_the_one_a_loop_finds():
    x, entries = rows(7), rows(5, seed=1)
    by_loop = [min(range(5), key=lambda k: float((row - entries[k]).pow(2).sum())) for row in x]
    assert nearest(x, entries).tolist() == by_loop


def test_kmeans_finds_separate_groups():
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    x = torch.cat([centre + torch.randn(30, 2) for centre in centres])
    found, counts = kmeans(x, 3, 50)
    assert counts.sum() == 90
    assert torch.cdist(x, found).min(dim=1).values.mean() < 30
    assert kmeans(x[:2], 4, 5)[0].shape == (4, 2)


def test_sampled_rows_repeat_only_when_there_are_too_few():
    x = torch.arange(6.0)[:, None]
    assert sorted(sample_rows(x, 6)[:, 0].tolist()) == [0, 1, 2, 3, 4, 5]
    assert sample_rows(x, 9).shape == (9, 1)
