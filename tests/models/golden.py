"""Golden files of the official AV-HuBERT code, and our encoder filled with their weights by the importer."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from lip2speech import checkpoint, config
from lip2speech.importers.avhubert import Imported, read_avhubert
from lip2speech.models.frontends.avhubert import AVHubert, AVHubertConfig
from lip2speech.models.frontends.masked_prediction import MaskedPredictionHead, MaskedPredictionHeadConfig

FOLDER = Path(__file__).parents[1] / "golden" / "avhubert"
PRETRAINED = FOLDER / "avhubert_pretrain.pt"
FINETUNED = FOLDER / "avhubert_s2s_finetuned.pt"
CASES = ("video", "audio", "av", "video_pad", "audio_pad", "av_pad")
TOLERANCE = 1e-5  # of a tensor's largest value

Row = tuple[str, str, float]
"""File, tensor, largest difference as a share of the tensor's largest value."""


def build(imported: Imported) -> tuple[AVHubert, MaskedPredictionHead | None]:
    """The modules that hold imported tensors, in evaluation mode."""
    encoder = AVHubert(config.from_dict(AVHubertConfig, imported.config["frontend"])).eval()
    checkpoint.load_weights(encoder, part(imported, "frontend."))
    if "clusters" not in imported.config:
        return encoder, None
    head = MaskedPredictionHead(
        config.from_dict(MaskedPredictionHeadConfig, imported.config["clusters"])
    ).eval()
    checkpoint.load_weights(head, part(imported, "clusters."))
    return encoder, head


def part(imported: Imported, prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in imported.tensors.items() if k.startswith(prefix)}


@cache
def pretrained() -> tuple[AVHubert, MaskedPredictionHead]:
    """The golden pretraining checkpoint as our modules."""
    encoder, head = build(read_avhubert(PRETRAINED))
    assert head is not None, "a pretraining checkpoint has its clusters"
    return encoder, head


def inputs(case: str) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Video, audio and padding mask of a case, as the README beside the files says."""
    stored = load_file(FOLDER / "avhubert_inputs.safetensors")
    video, audio, mask = stored["video_f16"].float(), stored["audio"], stored["padding_mask"].bool()
    if not case.endswith("_pad"):
        return None if case == "audio" else video, None if case == "video" else audio, None
    video[1, :, 7:] = 0
    audio[1, :, 7:] = 0
    return None if case == "audio_pad" else video, None if case == "video_pad" else audio, mask


@torch.no_grad()
def outputs(case: str) -> dict[str, Tensor]:
    """Everything the golden file of a case stores, computed by our modules."""
    encoder, head = pretrained()
    video, audio, mask = inputs(case)
    x = encoder(video, audio, mask)
    found = {"x": x, "logits": head(x)}
    found |= {f"layer{n}": y for n, y in enumerate(encoder.hidden_states(video, audio, mask), 1)}
    if video is not None:
        found["resnet"] = encoder.resnet(video, mask).transpose(1, 2)
        found["feat_video"] = encoder.video_features(video, mask).transpose(1, 2)
    if audio is not None:
        found["feat_audio"] = encoder.audio_features(audio).transpose(1, 2)
    return found


def case_rows(case: str) -> Iterator[Row]:
    """One row for each stored tensor of a case.

    Our ResNet skips padded frames where the official one runs on their zeros, so its two tensors are compared
    on the kept frames; every other tensor on all frames.
    """
    golden, ours = load_file(FOLDER / f"avhubert_{case}.safetensors"), outputs(case)
    assert set(golden) == set(ours), f"{case}: stored {sorted(golden)}, computed {sorted(ours)}"
    mask = inputs(case)[2]
    for name in sorted(golden):
        error = (ours[name] - golden[name]).abs()
        if mask is not None and name in ("resnet", "feat_video"):
            error = error.transpose(1, 2)[~mask]
        yield f"avhubert_{case}", name, float(error.max() / golden[name].abs().max())


@torch.no_grad()
def finetuned_row() -> Row:
    """The fine-tuned checkpoint's encoder."""
    encoder, _ = build(read_avhubert(FINETUNED, pretrained=PRETRAINED))
    video, _, mask = inputs("video_pad")
    golden = load_file(FOLDER / "avhubert_s2s.safetensors")["encoder_out_TBC"]
    error = (encoder(video, None, mask).transpose(0, 1) - golden).abs().max()
    return "avhubert_s2s", "encoder_out_TBC", float(error / golden.abs().max())


def all_rows() -> Iterator[Row]:
    """Every row of docs/parity/avhubert.md."""
    for case in CASES:
        yield from case_rows(case)
    yield finetuned_row()
