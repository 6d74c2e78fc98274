"""Streaming synthesis of evaluation clips: the quality at a given look-ahead, next to offline synthesis."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from lip2speech.constants import VIDEO_FPS
from lip2speech.data.targets import match_length
from lip2speech.evaluation.dataset import EvaluationItem, SynthesizedAudio
from lip2speech.pipeline import Lip2Speech
from lip2speech.streaming import Stream, StreamConfig
from lip2speech.synthesis import SynthesisOptions
from lip2speech.video import read_frames

FRAME_MS = 1000 // VIDEO_FPS
WINDOW, HOP = 75, 5  # frames, of models that run on windows


def stream_configs(lookaheads_ms: Sequence[int]) -> dict[str, StreamConfig]:
    """Row name -> stream settings for each look-ahead in ms.

    A causal model runs in chunks of one frame more than the look-ahead; any other runs on windows that extend
    beyond each hop by the look-ahead.

    Raises:
        ValueError: a look-ahead that is not a whole number of frames, or does not fit into a window.
    """
    configs = {}
    for ms in lookaheads_ms:
        frames, rest = divmod(ms, FRAME_MS)
        if rest or not 0 <= frames <= WINDOW - HOP:
            longest = FRAME_MS * (WINDOW - HOP)
            raise ValueError(f"look-ahead must be a multiple of {FRAME_MS} ms up to {longest}, got {ms}.")
        name = f"streaming, {ms} ms look-ahead"
        configs[name] = StreamConfig(chunk=frames + 1, lookahead=frames, hop=HOP, window=WINDOW)
    return configs


def stream_item(
    model: Lip2Speech, item: EvaluationItem, voice: Tensor | None, vocoder: str, config: StreamConfig
) -> SynthesizedAudio:
    """Stream a clip's video file as if from a camera: (640 T,) for its T frames.

    The latency is the algorithmic latency plus the 95th percentile of the computation of a frame.

    Raises:
        ValueError: the clip has no video file.
    """
    if item.video is None:
        raise ValueError(f"{item.id}: streaming needs the video file; give a corpus, not prepared clips.")
    stream = Stream(model, SynthesisOptions(voice, vocoder), config)
    chunks, times = [], []
    with read_frames(item.video) as frames:
        for i, frame in enumerate(frames):
            start = perf_counter()
            stream.push(frame, i / VIDEO_FPS)
            chunks.append(stream.pull())
            times.append(perf_counter() - start)
    stream.finish()
    chunks.append(stream.pull())
    wav = match_length(torch.from_numpy(np.concatenate(chunks)), len(times))
    latency_s = stream.latency_s + (float(np.quantile(times, 0.95)) if times else 0.0)
    return SynthesizedAudio(wav, sum(times), 1000 * latency_s)
