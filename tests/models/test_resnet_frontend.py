"""The front end without a transformer (lip2speech/models/frontends/resnet.py)."""

import pytest
import torch

from lip2speech.models.frontends.resnet import ResNetConfig, ResNetFrontEnd


@pytest.fixture(scope="module")
def frontend() -> ResNetFrontEnd:
    torch.manual_seed(0)
    return ResNetFrontEnd(ResNetConfig(resnet_width=2)).eval()


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_every_frame_has_one_vector(frontend: ResNetFrontEnd, batch: int, frames: int) -> None:
    features = frontend(torch.randn(batch, 1, frames, 88, 88))
    assert features.shape == (batch, frames, frontend.config.embed_dim)


@torch.no_grad()
def test_padding_is_replaced_by_zeros(frontend: ResNetFrontEnd) -> None:
    video, mask = torch.randn(2, 1, 4, 88, 88), torch.zeros(2, 4, dtype=torch.bool)
    mask[1, 3] = True
    zeroed = video.clone()
    zeroed[1, :, 3] = 0
    torch.testing.assert_close(frontend(video, mask), frontend(zeroed), rtol=0, atol=1e-5)
    torch.testing.assert_close(frontend(video, mask)[1, :3], frontend(video[1:, :, :3])[0], rtol=0, atol=1e-5)


def test_chunks_are_refused(frontend: ResNetFrontEnd) -> None:
    with pytest.raises(ValueError, match="has no chunks; run the whole clip"):
        frontend(torch.randn(1, 1, 4, 88, 88), chunk=2)
