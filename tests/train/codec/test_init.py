"""The start of a codec's training (lip2speech/train/codec/init.py)."""

import pytest
import torch

from lip2speech.codecs import codec_from_dict
from lip2speech.modules.seanet import SEANetResnetBlock
from lip2speech.train.codec.init import BRANCH, even_out
from tests.factories import synthetic_voice

HALF = {"n_filters": 4, "dimension": 16, "lstm": 0}
QUANTIZER = {"n_q": 2, "codebook_size": 8, "codebook_dim": 16}
CODECS = {
    "encodec": {"seanet": HALF, "quantizer": QUANTIZER},
    "soundstream": {"encoder": HALF, "decoder": HALF, "quantizer": QUANTIZER},
}


def soft_speech() -> torch.Tensor:
    return 0.02 * torch.stack([synthetic_voice(10, 120), torch.randn(6400, generator=torch.manual_seed(1))]).unsqueeze(1)


def new(name: str):
    torch.manual_seed(0)
    return codec_from_dict(name, CODECS[name])


@pytest.mark.parametrize("name", CODECS)
def test_latents_tell_of_the_sound_and_the_sound_is_as_loud_as_speech(name: str) -> None:
    codec, wav = new(name), soft_speech()
    with torch.no_grad():
        before = codec.encode_latent(wav)
    assert (before - before.mean((0, 2), keepdim=True)).std() < 0.05  # or there would be nothing to do
    even_out(codec, wav)
    with torch.no_grad():
        latent = codec.encode_latent(wav)
        sound = codec.decode_latent(latent)
    assert (latent - latent.mean((0, 2), keepdim=True)).std().item() == pytest.approx(1.0, rel=0.02)
    assert (sound - sound.mean()).std().item() == pytest.approx(wav.std().item(), rel=0.05)


def test_nothing_is_divided_by_silence() -> None:
    codec = new("soundstream")
    even_out(codec, torch.zeros(1, 1, 6400))
    assert all(p.isfinite().all() for p in codec.parameters())


def test_a_decoder_that_is_no_seanet_is_left_alone() -> None:
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
    even_out(codec, soft_speech())
    assert all(torch.equal(before[k], v) for k, v in codec.decoder.state_dict().items())


def test_a_codec_of_mels_is_left_alone() -> None:
    torch.manual_seed(0)
    codec = codec_from_dict("melcodec", {"decoder": HALF, "quantizer": QUANTIZER})
    before = {k: v.clone() for k, v in codec.state_dict().items()}
    even_out(codec, soft_speech())
    assert all(torch.equal(before[k], v) for k, v in codec.state_dict().items())


@pytest.mark.parametrize("name", CODECS)
def test_branches_start_small(name: str) -> None:
    """What a residual block gives is nearly what it was given, up to a matrix where the shortcut has one."""
    codec, wav = new(name), soft_speech()
    even_out(codec, wav)
    blocks = [m for m in codec.encoder.modules() if isinstance(m, SEANetResnetBlock)]
    added: list[float] = []
    hooks = [b.block.register_forward_hook(lambda _, x, y: added.append(float(y.std()))) for b in blocks]
    with torch.no_grad():
        codec.encode_latent(wav)
    for hook in hooks:
        hook.remove()
    assert len(added) == len(blocks) > 0
    assert max(added) < 2 * BRANCH
