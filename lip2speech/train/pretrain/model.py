"""AV-HuBERT with its masked prediction head, and the masked prediction loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.data.loader import IGNORE_INDEX
from lip2speech.models.frontends.avhubert import AVHubert, AVHubertConfig
from lip2speech.models.frontends.masked_prediction import MaskedPredictionHead, MaskedPredictionHeadConfig
from lip2speech.train.pretrain.data import MaskedBatch


class Modalities(NamedTuple):
    """The modalities that the model gets as input."""

    audio: bool
    video: bool


MODALITIES = {
    "av": Modalities(audio=True, video=True),
    "video": Modalities(audio=False, video=True),
    "audio": Modalities(audio=True, video=False),
}


class AVHubertPretrainModel(nn.Module):
    """The front end and its masked prediction head.

    Shape:
        forward: batch, modalities -> features (B, T, C), mean square of the modalities' features before
            fusion ()
    """

    def __init__(
        self, frontend: AVHubertConfig, clusters: MaskedPredictionHeadConfig, feature_grad_mult: float = 1.0
    ):
        super().__init__()
        self.frontend, self.clusters = AVHubert(frontend), MaskedPredictionHead(clusters)
        self.feature_grad_mult = feature_grad_mult

    def forward(self, batch: MaskedBatch, modalities: Modalities) -> tuple[Tensor, Tensor]:
        """Encode the given modalities; masked audio is replaced by the mask embedding."""
        padding, audio, video = batch.padding_mask, None, None
        if modalities.audio:
            mask_embedding = self.clusters.mask_embedding[:, None]
            masked = torch.where(batch.audio_mask[:, None], mask_embedding, batch.audio)
            audio = scale_gradient(self.frontend.audio_features(masked), self.feature_grad_mult)
        if modalities.video:
            video = scale_gradient(self.frontend.video_features(batch.video, padding), self.feature_grad_mult)
        squares = [x[~padding].float().square().mean() for x in (audio, video) if x is not None]
        features = self.frontend.encoder(self.frontend.fuse(video, audio), padding)
        return features, torch.stack(squares).sum() / 2  # a dropped modality is zeros


def scale_gradient(x: Tensor, scale: float) -> Tensor:
    """The identity, with a gradient multiplied by `scale`."""
    return x.detach() + scale * (x - x.detach())


def masked_loss(logits: Tensor, batch: MaskedBatch, unmasked_weight: float = 0.0) -> Tensor:
    """Cross entropy of logits (B, T, K) on masked frames, plus `unmasked_weight` times that on the others.

    Averaged over the frames with a weight above 0, whatever the weight, as published.
    """
    losses = F.cross_entropy(
        logits.transpose(1, 2), batch.clusters, ignore_index=IGNORE_INDEX, reduction="none"
    )
    weights = torch.where(batch.masked(), 1.0, unmasked_weight) * ~batch.padding_mask
    return (losses * weights).sum() / weights.count_nonzero().clamp_min(1)
