"""The multi-scale STFT discriminator (lip2speech/discriminators/msstftd.py): parity with EnCodec's."""

import json

import pytest
import torch
from torch import Tensor

from lip2speech.discriminators.msstftd import MSSTFTDConfig, MSSTFTDiscriminator
from tests.codecs.golden import FOLDER

TINY = MSSTFTDConfig(filters=2, n_ffts=(256, 128))


def load_official(model: MSSTFTDiscriminator, tensors: dict[str, Tensor]) -> None:
    """Official names -> ours; assigning a weight-normalized `weight` sets its norm and direction."""
    left = {name for name in tensors if name.startswith("discriminators.") and "window" not in name}
    for i, discriminator in enumerate(model.discriminators):
        named = {f"convs.{j}": conv for j, conv in enumerate(discriminator.convs)} | {
            "conv_post": discriminator.conv_post
        }
        for name, conv in named.items():
            prefix = f"discriminators.{i}.{name}.conv."
            with torch.no_grad():
                conv.bias.copy_(tensors[f"{prefix}bias"])
                if f"{prefix}weight" in tensors:
                    conv.weight = tensors[f"{prefix}weight"]
                else:
                    conv.parametrizations.weight.original0.copy_(tensors[f"{prefix}weight_g"])
                    conv.parametrizations.weight.original1.copy_(tensors[f"{prefix}weight_v"])
            left -= {f"{prefix}{part}" for part in ("bias", "weight", "weight_g", "weight_v")}
    assert not left


def test_logits_and_feature_features_match_encodec() -> None:
    from safetensors import safe_open

    with safe_open(FOLDER / "msstftd_small.safetensors", "pt") as file:
        config = json.loads(file.metadata()["config"])
        golden = {name: file.get_tensor(name) for name in list(file.keys())}
    model = MSSTFTDiscriminator(MSSTFTDConfig(filters=config["filters"], n_ffts=tuple(config["n_ffts"])))
    load_official(model, golden)
    with torch.no_grad():
        logits, features = model(golden["x"])
    for i in range(2):
        assert len(features[i]) == int(golden[f"d{i}.n_fmaps"])
        for found, name in (
            (logits[i], "logit"),
            (features[i][0], "fmap_first"),
            (features[i][-1], "fmap_last"),
        ):
            torch.testing.assert_close(found, golden[f"d{i}.{name}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_every_scale_gives_logits_for_every_item(batch: int) -> None:
    logits, features = MSSTFTDiscriminator(TINY)(torch.randn(batch, 1, 512))
    assert [tuple(x.shape[:2]) for x in logits] == [(batch, 1)] * 2
    assert [x.shape[2] for x in logits] == [5, 13]  # frames without padding: (512 - n_fft) / hop + 1
    assert all(len(scale) == 5 for scale in features)
