"""Initialization of codecs before training (lip2speech/train/codec/init.py)."""

from pathlib import Path

import pytest
import torch

from lip2speech import checkpoint
from lip2speech.codecs import SACodec, codec_from_dict
from lip2speech.modules.seanet import SEANetResnetBlock
from lip2speech.train.codec.init import BRANCH_STD, load_semantic_centroids, lsuv_init
from tests.factories import SACODEC, make_codec, synthetic_voice

HALF = {"n_filters": 4, "dimension": 16, "lstm": 0}
QUANTIZER = {"n_q": 2, "codebook_size": 8, "codebook_dim": 16}
CODECS = {
    "encodec": {"seanet": HALF, "quantizer": QUANTIZER},
    "soundstream": {"encoder": HALF, "decoder": HALF, "quantizer": QUANTIZER},
}


def quiet_speech() -> torch.Tensor:
    return 0.02 * torch.stack(
        [synthetic_voice(10, 120), torch.randn(6400, generator=torch.manual_seed(1))]
    ).unsqueeze(1)


def build(name: str):
    torch.manual_seed(0)
    return codec_from_dict(name, CODECS[name])


@pytest.mark.parametrize("name", CODECS)
def test_latents_have_unit_variance_and_the_output_the_level_of_speech(name: str) -> None:
    codec, wav = build(name), quiet_speech()
    with torch.no_grad():
        before = codec.encode_latent(wav)
    assert (before - before.mean((0, 2), keepdim=True)).std() < 0.05  # or there would be nothing to test
    lsuv_init(codec, wav)
    with torch.no_grad():
        latent = codec.encode_latent(wav)
        wav_hat = codec.decode_latent(latent)
    assert (latent - latent.mean((0, 2), keepdim=True)).std().item() == pytest.approx(1.0, rel=0.02)
    assert (wav_hat - wav_hat.mean()).std().item() == pytest.approx(wav.std().item(), rel=0.05)


def test_silent_input_leaves_finite_weights() -> None:
    codec = build("soundstream")
    lsuv_init(codec, torch.zeros(1, 1, 6400))
    assert all(p.isfinite().all() for p in codec.parameters())


def test_other_decoders_keep_their_init() -> None:
    torch.manual_seed(0)
    sizes = {"encoder": HALF, "semantic": {"codebook_size": 4, "centroid_dim": 3}}
    codec = codec_from_dict(
        "sacodec",
        sizes
        | {
            "acoustic": {"codebook_dim": 16},
            "decoder": {"dimension": 16, "width": 32, "hidden": 32, "blocks": 1},
        },
    )
    before = {k: v.clone() for k, v in codec.decoder.state_dict().items()}
    lsuv_init(codec, quiet_speech())
    assert all(torch.equal(before[k], v) for k, v in codec.decoder.state_dict().items())


def test_a_mel_codec_keeps_its_init() -> None:
    torch.manual_seed(0)
    codec = codec_from_dict("melcodec", {"decoder": HALF, "quantizer": QUANTIZER})
    before = {k: v.clone() for k, v in codec.state_dict().items()}
    lsuv_init(codec, quiet_speech())
    assert all(torch.equal(before[k], v) for k, v in codec.state_dict().items())


@pytest.mark.parametrize("name", CODECS)
def test_residual_branches_start_small(name: str) -> None:
    """A residual block is close to its shortcut."""
    codec, wav = build(name), quiet_speech()
    lsuv_init(codec, wav)
    blocks = [m for m in codec.encoder.modules() if isinstance(m, SEANetResnetBlock)]
    branch_std: list[float] = []
    hooks = [b.block.register_forward_hook(lambda _, x, y: branch_std.append(float(y.std()))) for b in blocks]
    with torch.no_grad():
        codec.encode_latent(wav)
    for hook in hooks:
        hook.remove()
    assert len(branch_std) == len(blocks) > 0
    assert max(branch_std) < 2 * BRANCH_STD


def sacodec() -> SACodec:
    codec = codec_from_dict("sacodec", SACODEC)
    assert isinstance(codec, SACodec)
    return codec


def save_units(folder: Path, *, name: str = "centroids", shape: tuple[int, int] = (6, 39)) -> str:
    checkpoint.save(folder, {"kind": "kmeans-mfcc"}, {name: torch.randn(shape)}, "# Units\n")
    return str(folder)


def test_the_semantic_codebook_gets_the_centroids_of_a_folder(tmp_path: Path) -> None:
    codec, folder = sacodec(), save_units(tmp_path / "units")
    load_semantic_centroids(codec, folder)
    assert torch.equal(codec.quantizer.semantic.frozen, checkpoint.load(folder).tensors["centroids"])


def test_centroids_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sacodec needs k-means centroids .* `lip2speech train kmeans`"):
        load_semantic_centroids(sacodec(), "")
    with pytest.raises(ValueError, match="semantic_centroids are for sacodec, not MelCodec; leave them out"):
        load_semantic_centroids(make_codec(), save_units(tmp_path / "units"))
    with pytest.raises(ValueError, match=r"centroids \(7, 39\), .* expects \(6, 39\)"):
        load_semantic_centroids(sacodec(), save_units(tmp_path / "more", shape=(7, 39)))
    with pytest.raises(ValueError, match="holds 'kmeans-mfcc', expected units with centroids"):
        load_semantic_centroids(sacodec(), save_units(tmp_path / "other", name="means"))
