"""Clips spoken live, to be measured beside the whole path: what a short look-ahead costs in quality."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from lip2speech.constants import VIDEO_FPS
from lip2speech.data.targets import fit_wav
from lip2speech.evaluation.dataset import EvaluationItem, SynthesizedAudio
from lip2speech.pipeline import Lip2Speech
from lip2speech.streaming import Stream, StreamConfig
from lip2speech.synthesis import SynthesisOptions
from lip2speech.video import read_frames

FRAME_MS = 1000 // VIDEO_FPS
WINDOW, HOP = 75, 5  # frames, of models that are run on windows


def live_configs(look_aheads: Sequence[int]) -> dict[str, StreamConfig]:
    """Row name -> settings for each look-ahead in ms.

    A causal model then hears chunks of so many frames and one more; any other sees so many beyond a hop.

    Raises:
        ValueError: a look-ahead that is no whole number of frames, or beyond a window.
    """
    configs = {}
    for ms in look_aheads:
        ahead, rest = divmod(ms, FRAME_MS)
        if rest or not 0 <= ahead <= WINDOW - HOP:
            most = FRAME_MS * (WINDOW - HOP)
            raise ValueError(f"a look-ahead must be a multiple of {FRAME_MS} ms up to {most}, got {ms}.")
        configs[f"live, {ms} ms ahead"] = StreamConfig(
            chunk=ahead + 1, lookahead=ahead, hop=HOP, window=WINDOW
        )
    return configs


def speak_live(
    model: Lip2Speech, item: EvaluationItem, voice: Tensor | None, route: str, config: StreamConfig
) -> SynthesizedAudio:
    """A clip's video as if it came from a camera: (640 T,) for its T frames. ValueError: not a video file.

    It is late by design and by the computing of a frame (95th percentile: chunks come now and then).
    """
    if item.video is None:
        raise ValueError(f"{item.id}: live speech needs the video file; give a corpus, not prepared clips.")
    stream = Stream(model, SynthesisOptions(voice, route), config)
    pieces, times = [], []
    with read_frames(item.video) as frames:
        for i, frame in enumerate(frames):
            began = perf_counter()
            stream.push(frame, i / VIDEO_FPS)
            pieces.append(stream.pull())
            times.append(perf_counter() - began)
    stream.finish()
    pieces.append(stream.pull())
    late = stream.latency_s + (float(np.quantile(times, 0.95)) if times else 0.0)
    return SynthesizedAudio(
        fit_wav(torch.from_numpy(np.concatenate(pieces)), len(times)), sum(times), 1000 * late
    )
