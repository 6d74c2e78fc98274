"""EMA codebooks (lip2speech/codecs/quantization/codebooks.py)."""

import torch
from torch import Tensor

from lip2speech.codecs.quantization.codebooks import EMACodebook, QuantizerConfig
from lip2speech.codecs.quantization.kmeans import kmeans, nearest, sample_vectors

CONFIG = QuantizerConfig(codebook_size=16, codebook_dim=4)


def rows(n: int = 80, seed: int = 0) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


def initialized() -> EMACodebook:
    torch.manual_seed(0)
    codebook = EMACodebook(CONFIG)
    codebook.init_entries(rows(200))
    return codebook


def test_a_dead_entry_is_replaced_by_a_vector_of_the_batch_and_stays_there():
    codebook, x = initialized(), rows()
    codebook.entries[5] = codebook.entries_sum[5] = 1000.0
    codebook.cluster_size[5] = 0.0
    for _ in range(2):
        codebook.update(x, codebook.quantize(x))
        assert codebook.entries[5].abs().max() < 10
    assert (codebook.quantize(x) == 5).any()


def test_an_entry_in_use_is_not_dead():
    codebook, x = initialized(), rows(200)
    assert len(codebook.pop_dead_codes(len(x) / 16)) == 0


def test_an_empty_batch_changes_nothing():
    codebook = initialized()
    before = codebook.entries.clone()
    codebook.update(rows(0), torch.zeros(0, dtype=torch.long))
    assert torch.equal(codebook.entries, before)


def test_init_entries_initializes_every_entry():
    torch.manual_seed(0)
    codebook, x = EMACodebook(CONFIG), 100 + rows(200)
    assert not codebook.initialized
    codebook.init_entries(x)
    assert codebook.initialized
    assert (codebook.entries - 100).abs().max() < 10
    assert codebook.cluster_size.sum() == 200
    torch.testing.assert_close(codebook.entries_sum.sum(0), x.sum(0))


def test_nearest_matches_a_loop():
    x, entries = rows(7), rows(5, seed=1)
    by_loop = [min(range(5), key=lambda k: float((row - entries[k]).pow(2).sum())) for row in x]
    assert nearest(x, entries).tolist() == by_loop


def test_kmeans_finds_separate_clusters():
    torch.manual_seed(0)
    centers = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    x = torch.cat([center + torch.randn(30, 2) for center in centers])
    found, counts = kmeans(x, 3, 50)
    assert counts.sum() == 90
    assert torch.cdist(x, found).min(dim=1).values.mean() < 30
    assert kmeans(x[:2], 4, 5)[0].shape == (4, 2)


def test_sampled_vectors_repeat_only_when_there_are_too_few():
    x = torch.arange(6.0)[:, None]
    assert sorted(sample_vectors(x, 6)[:, 0].tolist()) == [0, 1, 2, 3, 4, 5]
    assert sample_vectors(x, 9).shape == (9, 1)
