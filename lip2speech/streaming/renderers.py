"""Renderers of live streams: windows of mouth crops in, audio out; chunk by chunk or on sliding windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lip2speech.confidence.features import FrameFeatures, confidence_features
from lip2speech.constants import SAMPLES_PER_FRAME
from lip2speech.pipeline import Lip2Speech
from lip2speech.synthesis import SynthesisOptions
from lip2speech.video import MouthCrop
from lip2speech.vocoders import Vocoder
from lip2speech.windows import NOTHING, RenderedFrames, Window, WindowBuffer, WindowJoiner, rendered


@dataclass(frozen=True)
class StreamConfig:
    """How much a live model sees at once, in video frames.

    Attributes:
        chunk: of a causal model; the first frame of a chunk waits for the others, 120 ms for 4.
        window, hop, lookahead: of any other model, see `windows`.
    """

    chunk: int = 4
    window: int = 75
    hop: int = 5
    lookahead: int = 10

    def __post_init__(self) -> None:
        least = self.hop + self.lookahead
        if min(self.chunk, self.hop) < 1 or self.lookahead < 0 or self.window < least:
            raise ValueError(f"chunk and hop must be 1 or more, window at least hop + lookahead, got {self}.")


class Renderer(Protocol):
    """Windows in, audio out, in order and without a hole."""

    latency: int
    """Samples by which the audio may lie behind the last frame, computing time not included."""

    def __call__(self, window: Window) -> RenderedFrames:
        """The final frames of the next window."""

    def finish(self) -> RenderedFrames:
        """The rest."""


def make_renderer(
    model: Lip2Speech, speaker: Tensor, vocoder: str, config: StreamConfig
) -> tuple[WindowBuffer, Renderer]:
    """Chunks for a causal model, sliding windows for any other; `speaker` is an embedding (S,)."""
    if model.model.config.frontend.causal and model.model.config.heads.causal:
        return WindowBuffer(config.chunk), ChunkRenderer(model, speaker, vocoder, config.chunk)
    context = config.window - config.hop - config.lookahead
    renderer = WindowRenderer(model, speaker, vocoder, config.hop + config.lookahead)
    return WindowBuffer(config.hop, config.lookahead, context), renderer


class ChunkRenderer:
    """A causal model: model, vocoder and code prior keep their state, so nothing is computed twice."""

    def __init__(self, model: Lip2Speech, speaker: Tensor, vocoder: str, chunk: int):
        self.model, self.speaker = model, speaker
        self.vocoder = cast(Vocoder, model.vocoders[vocoder])
        self.latency = chunk * SAMPLES_PER_FRAME + self.vocoder.latency
        self._model_state = self._vocoder_state = self._prior_state = cast(Any, None)

    @torch.inference_mode()
    def __call__(self, window: Window) -> RenderedFrames:
        """The next chunk; the vocoder may keep its last samples for later."""
        roi = window.pixels
        video = self.model.transform(roi).to(self.model.device)
        prediction, self._model_state = self.model.model.step(video, self.speaker[None], self._model_state)
        wav, self._vocoder_state = self.vocoder.step(prediction, self._vocoder_state)
        bits, self._prior_state = self.model.code_bits(prediction, self._prior_state)
        return rendered(window, wav[0, 0].float().cpu(), confidence_features(prediction, roi, bits))

    def finish(self) -> RenderedFrames:
        """The samples that the vocoder kept."""
        if self._vocoder_state is None:
            return NOTHING
        return NOTHING._replace(wav=self.vocoder.finish(self._vocoder_state)[0, 0].float().cpu())


class WindowRenderer:
    """Any model: each window is computed as a whole, and joined to the one before by a 10 ms cross-fade."""

    def __init__(self, model: Lip2Speech, speaker: Tensor, vocoder: str, latency_frames: int):
        self.model, self.speaker, self.vocoder = model, speaker, vocoder
        self.latency = latency_frames * SAMPLES_PER_FRAME
        self._join = WindowJoiner()

    @torch.inference_mode()
    def __call__(self, window: Window) -> RenderedFrames:
        """The final frames of the next window."""
        prediction = self.model.predict(window.pixels, self.speaker)
        wav = self.model.vocode(prediction, self.vocoder)
        return self._join(window, wav, self.model.frame_features(prediction, window.pixels))

    def finish(self) -> RenderedFrames:
        """The look-ahead of the last window."""
        return self._join.finish()


def stream_roi(
    model: Lip2Speech,
    roi: NDArray[np.uint8],
    options: SynthesisOptions = SynthesisOptions(),
    config: StreamConfig = StreamConfig(),
) -> RenderedFrames:
    """Mouth crops (T, 96, 96) uint8 rendered as a live stream would, without post-processing.

    Returns:
        wav (640 T,) and the features of T frames.
    """
    speaker, vocoder = model.speaker_embedding(options.voice), model.resolve_vocoder(options.vocoder)
    buffer, renderer = make_renderer(model, speaker, vocoder, config)
    pushed = (buffer.push(MouthCrop(pixels, "detected")) for pixels in roi)
    pieces = [renderer(window) for window in pushed if window is not None]
    if (window := buffer.finish()) is not None:
        pieces.append(renderer(window))
    return concatenate([*pieces, renderer.finish()])


def concatenate(pieces: Sequence[RenderedFrames]) -> RenderedFrames:
    """Consecutive frames as one piece."""
    features = zip(*(piece.features for piece in pieces), strict=True)
    return RenderedFrames(
        torch.cat([piece.wav for piece in pieces]),
        FrameFeatures(*map(torch.cat, features)),
        torch.cat([piece.detected for piece in pieces]),
        torch.cat([piece.visible for piece in pieces]),
    )
