"""Golden file of the official HuBERT code, and our encoder filled with its weights by the importer."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from lip2speech import checkpoint, config
from lip2speech.data.unit_tokenizers import HubertTokenizer
from lip2speech.importers.avhubert import Imported
from lip2speech.importers.hubert import read_hubert
from lip2speech.models.hubert import Hubert, HubertConfig

FOLDER = Path(__file__).parents[1] / "golden" / "hubert"
CHECKPOINT = FOLDER / "hubert.pt"
KMEANS = FOLDER / "km.bin"
KEYS = FOLDER / "hubert_base_keys.json"
UNIT_LAYER = 2
TOLERANCE = 1e-5  # of a tensor's largest value


def build(imported: Imported) -> Hubert:
    """The encoder that holds imported tensors, in evaluation mode."""
    model = Hubert(config.from_dict(HubertConfig, imported.config["hubert"])).eval()
    own = {k.removeprefix("hubert."): v for k, v in imported.tensors.items() if k.startswith("hubert.")}
    checkpoint.load_weights(model, own)
    return model


@cache
def stored() -> dict[str, Tensor]:
    """The golden tensors."""
    return load_file(FOLDER / "hubert.safetensors")


@cache
def teacher() -> HubertTokenizer:
    """The golden checkpoint and k-means as our unit teacher."""
    imported = read_hubert(CHECKPOINT, kmeans=KMEANS, layer=UNIT_LAYER)
    return HubertTokenizer(build(imported), imported.tensors["centroids"], UNIT_LAYER)


def padded_batch() -> tuple[Tensor, Tensor]:
    """[wav, wav with its second half zero] and the mask of that half: (2, 1, T_a), (2, T_a)."""
    wav = stored()["wav"].repeat(2, 1, 1)
    mask = torch.zeros(2, wav.shape[2], dtype=torch.bool)
    mask[1, wav.shape[2] // 2 :] = True
    return wav.masked_fill(mask[:, None], 0.0), mask


@torch.no_grad()
def outputs() -> dict[str, Tensor]:
    """What the golden file stores of the encoder, computed by ours."""
    model, wav = teacher().model, stored()["wav"][None, None]
    found = {"conv": model.feature_extractor(wav), "padded_last": model(*padded_batch())}
    return found | {f"layer{n}": y for n, y in enumerate(model.hidden_states(wav), 1)}


def all_rows() -> Iterator[tuple[str, float, float]]:
    """Tensor, largest difference, the same as a share of the tensor's largest value."""
    for name, ours in outputs().items():
        error = float((ours - stored()[name]).abs().max())
        yield name, error, error / float(stored()[name].abs().max())
