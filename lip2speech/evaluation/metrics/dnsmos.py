"""DNSMOS P.835: what listeners would say of a sound without its reference (Reddy et al. 2022).

The network lies inside the wheel of `speechmos` (its authors' own) and runs offline by onnxruntime; of that
wheel only the file is used, because its code wants librosa for a second network (P.808) that is left out.
It was made for noise suppression at 16 kHz: it hears noise and distortion, not whether words are right.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lip2speech.constants import SAMPLE_RATE
from lip2speech.evaluation.metrics.intelligibility import Wav, check_wav, is_silent

WINDOW_S = 9.01
"""What the network hears at once; shorter sounds are repeated, longer ones heard every second."""
LOWEST = 1.0
"""Of the scale of five: silence is no speech."""
_MAPS = (
    (-0.08397278, 1.22083953, 0.0052439),
    (-0.13166888, 1.60915514, -0.39604546),
    (-0.06766283, 1.11546468, 0.04602535),
)
"""From the network's three outputs to the scale of P.835: polynomials that its authors publish with it."""


class DNSMOSScores(NamedTuple):
    """Mean opinions from 1 to 5: of the speech, of the background, of both."""

    speech: float
    background: float
    overall: float


def dnsmos(wav: Wav) -> DNSMOSScores:
    """The opinion on (T_a,) at 16 kHz; the lowest for silence. ImportError: the extra `eval` is missing."""
    samples = check_wav(wav)
    if is_silent(samples):
        return DNSMOSScores(LOWEST, LOWEST, LOWEST)
    length, samples = int(WINDOW_S * SAMPLE_RATE), samples.clip(-1, 1)
    while len(samples) < length:
        samples = np.append(samples, samples)
    count = int(len(samples) // SAMPLE_RATE - WINDOW_S) + 1
    windows = [samples[i * SAMPLE_RATE :][:length] for i in range(count)]
    raw = np.mean([_mapped(_network().run(None, {"input_1": window[None]})[0][0]) for window in windows], 0)
    return DNSMOSScores(*(float(value) for value in raw))


def _mapped(outputs: np.ndarray) -> list[float]:
    return [float(np.polyval(places, value)) for places, value in zip(_MAPS, outputs, strict=True)]


@cache
def _network() -> Any:
    import onnxruntime

    found = find_spec("speechmos")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'speechmos'", name="speechmos")
    path = Path(found.submodule_search_locations[0]) / "dnsmos_models" / "sig_bak_ovr.onnx"
    options = onnxruntime.SessionOptions()
    # Other clips are measured beside this one; the same on every machine.
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
