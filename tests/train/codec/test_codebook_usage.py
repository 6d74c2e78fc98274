"""Codebooks in codec training: use, weights, anchors (lip2speech/train/codec/codebook_usage.py)."""

from pathlib import Path

import pytest
import torch

from lip2speech import checkpoint
from lip2speech.codecs import SACodec, codec_from_dict
from lip2speech.train.codec.codebook_usage import (
    CodebookUsage,
    check_commit_weight,
    commitment_logs,
    take_anchors,
    used_share,
    weigh_commitment,
)
from tests.factories import SACODEC, make_codec


def sacodec() -> SACodec:
    codec = codec_from_dict("sacodec", SACODEC)
    assert isinstance(codec, SACodec)
    return codec


def units(folder: Path, *, name: str = "centroids", shape: tuple[int, int] = (6, 39)) -> str:
    checkpoint.save(folder, {"kind": "kmeans-mfcc"}, {name: torch.randn(shape)}, "# Units\n")
    return str(folder)


def test_use_counts_entries_over_batches_and_starts_anew():
    use = CodebookUsage((4, 2))
    use.add(torch.tensor([[[0, 1, 1], [0, 0, 0]]]))
    use.add(torch.tensor([[[2, 2, 2], [0, 0, 0]]]))
    assert use.report() == {"book1_used": 0.75, "book2_used": 0.5}
    assert use.report() == {"book1_used": 0.0, "book2_used": 0.0}


def test_stages_that_an_item_did_not_use_do_not_count():
    use = CodebookUsage((4, 4))
    use.add(torch.tensor([[[0, 1], [-1, -1]]]))
    assert use.report() == {"book1_used": 0.5, "book2_used": 0.0}


def test_the_share_of_codes_is_that_of_each_books_own_size():
    assert used_share(torch.tensor([[[0, 1], [0, 1]]]), (2, 8)) == pytest.approx((1 + 0.25) / 2)


def test_commitments_are_weighed_one_by_one_or_together():
    commit = torch.tensor([2.0, 3.0])
    assert weigh_commitment((25.0, 5.0), commit) == 65
    assert weigh_commitment(0.5, commit) == 2.5
    assert weigh_commitment(0.5, commit[0]) == 1


def test_each_commitment_is_logged_where_there_are_several():
    assert commitment_logs(torch.tensor(2.0)) == {"commit": 2}
    assert commitment_logs(torch.tensor([2.0, 3.0])) == {"commit": 5, "commit1": 2, "commit2": 3}


def test_weights_that_do_not_fit_the_codec_are_refused():
    check_commit_weight((25.0, 5.0), sacodec())
    check_commit_weight(25.0, sacodec())
    with pytest.raises(ValueError, match="commit_weight has 3 numbers, SACodec tells 2"):
        check_commit_weight((1.0, 2.0, 3.0), sacodec())
    with pytest.raises(ValueError, match="commit_weight has 2 numbers, MelCodec tells 1"):
        check_commit_weight((25.0, 5.0), make_codec())


def test_anchors_are_the_centroids_of_a_folder(tmp_path: Path):
    codec, folder = sacodec(), units(tmp_path / "units")
    take_anchors(codec, folder)
    assert torch.equal(codec.quantizer.anchor.frozen, checkpoint.load(folder).tensors["centroids"])


def test_anchors_that_do_not_fit_are_refused(tmp_path: Path):
    with pytest.raises(
        ValueError, match="sacodec needs the centres of a k-means .* `lip2speech train kmeans`"
    ):
        take_anchors(sacodec(), "")
    with pytest.raises(ValueError, match="anchors are for sacodec, not MelCodec; leave them out"):
        take_anchors(make_codec(), units(tmp_path / "units"))
    with pytest.raises(ValueError, match=r"centroids \(7, 39\), .* made for \(6, 39\)"):
        take_anchors(sacodec(), units(tmp_path / "more", shape=(7, 39)))
    with pytest.raises(ValueError, match="holds 'kmeans-mfcc', expected units with centroids"):
        take_anchors(sacodec(), units(tmp_path / "other", name="means"))
