"""Config of AV-HuBERT pre-training."""

from __future__ import annotations

from dataclasses import dataclass, field

from lip2speech.models.frontends.avhubert import AVHubertConfig
from lip2speech.models.frontends.transforms import Transform
from lip2speech.train.core.config import OptimizerConfig, TrainerConfig
from lip2speech.train.pretrain.masking import SpanMask


@dataclass(frozen=True)
class PretrainIteration:
    """Targets of one iteration.

    Attributes:
        n_units: number of clusters.
        feature_layer: layer, counted from 1, whose features are clustered, of the previous iteration's model
            or of `model`; 0 clusters MFCC.
        model: checkpoint folder to use instead of the previous iteration's model.
        unit_tokenizer: checkpoint folder of a unit tokenizer to use instead of fitting one.
    """

    n_units: int = 100
    feature_layer: int = 0
    model: str = ""
    unit_tokenizer: str = ""


@dataclass(frozen=True)
class PretrainConfig:
    """One pre-training; the defaults are the last iteration of the published base model on LRS3.

    Attributes:
        train_data: folders of prepared clips.
        iterations: targets of each iteration.
        iteration: the present iteration, counted from 1.
        n_kmeans_frames: number of features that k-means is fitted to.
        modality_dropout: probability that a batch has one modality only.
        audio_dropout: probability that this modality is video.
        unmasked_weight: weight of the loss on unmasked frames relative to masked ones.
        feature_grad_mult: multiplies the gradient of both modalities' features before fusion.
        feature_penalty: weight of the mean square of those features.
        final_dim, temperature: of the cosine similarity with the cluster embeddings.
        max_frames_per_batch: 0 draws trainer.batch_size random clips. Otherwise every clip comes once per
            epoch, in batches of similar length with at most this number of video frames, padding included.
        max_frames: longer clips are cropped to a random span of this length.
        valid_clips: limit on the validation clips.
    """

    frontend: AVHubertConfig = field(default_factory=AVHubertConfig)
    transform: Transform = field(default_factory=Transform)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train_data: tuple[str, ...] = ()
    iterations: tuple[PretrainIteration, ...] = (PretrainIteration(),)
    iteration: int = 1
    n_kmeans_frames: int = 300_000
    video_mask: SpanMask = field(default_factory=lambda: SpanMask(mask_prob=0.3, mask_length=5))
    audio_mask: SpanMask = field(default_factory=lambda: SpanMask(mask_prob=0.8, mask_length=10))
    modality_dropout: float = 0.5
    audio_dropout: float = 0.5
    unmasked_weight: float = 0.0
    feature_grad_mult: float = 0.1
    feature_penalty: float = 10.0
    final_dim: int = 256
    temperature: float = 0.1
    ema_decay: float = 0.999
    max_frames_per_batch: int = 0
    max_frames: int = 400
    valid_clips: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.iteration <= len(self.iterations):
            raise ValueError(f"iteration must be 1 .. {len(self.iterations)}, got {self.iteration}.")
        if not (self.video_mask.mask_prob or self.audio_mask.mask_prob or self.unmasked_weight):
            raise ValueError(
                "nothing is masked, so there is nothing to predict; give video_mask or audio_mask a "
                "mask_prob above 0."
            )
        for name in ("modality_dropout", "audio_dropout", "unmasked_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 .. 1, got {getattr(self, name)}.")
        for name in ("max_frames", "valid_clips"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        for number, iteration in enumerate(self.iterations, 1):
            check_iteration(iteration, number, self.frontend.encoder_layers)

    @property
    def current(self) -> PretrainIteration:
        """Targets of the present iteration."""
        return self.iterations[self.iteration - 1]


def check_iteration(iteration: PretrainIteration, number: int, n_layers: int) -> None:
    """Raise ValueError if the source of an iteration's clusters is missing or contradictory."""
    if iteration.unit_tokenizer:
        return
    layer = iteration.feature_layer
    if iteration.model and not layer:
        raise ValueError(f"iteration {number} has a model but no feature_layer; give one.")
    if layer and number == 1 and not iteration.model:
        raise ValueError("iteration 1 has no previous model; give feature_layer 0 (MFCC), or a model.")
    if not layer and number > 1:
        raise ValueError(f"iteration {number} clusters the previous model; give its feature_layer.")
    if layer > n_layers and not iteration.model:
        raise ValueError(f"iteration {number}: feature_layer must be 1 .. {n_layers}, got {layer}.")
