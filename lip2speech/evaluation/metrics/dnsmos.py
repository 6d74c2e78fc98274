"""DNSMOS P.835: predicted mean opinion scores without a reference (Reddy et al. 2022).

The network is part of the `speechmos` wheel (by its authors) and runs offline in onnxruntime. Only its
file is used: the code of the package needs librosa for a second network (P.808), which is left out.
It was trained for noise suppression at 16 kHz: it scores noise and distortion, not intelligibility.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lip2speech.constants import SAMPLE_RATE
from lip2speech.evaluation.metrics.common import Wav, check_wav, is_silent

WINDOW_S = 9.01
"""Input length of the network; shorter waveforms are repeated, longer ones scored every second."""
MIN_MOS = 1.0
"""Lowest score of the scale of five, given to silence."""
_POLYNOMIALS = (
    (-0.08397278, 1.22083953, 0.0052439),
    (-0.13166888, 1.60915514, -0.39604546),
    (-0.06766283, 1.11546468, 0.04602535),
)
"""From the network's three outputs to the P.835 scale, as published by its authors."""


class DNSMOSScores(NamedTuple):
    """Mean opinion scores from 1 to 5: speech (SIG), background (BAK), overall (OVRL)."""

    speech: float
    background: float
    overall: float


def dnsmos(wav: Wav) -> DNSMOSScores:
    """Predicted scores of (T_a,) at 16 kHz; the lowest for silence. ImportError: extra `eval` missing."""
    samples = check_wav(wav)
    if is_silent(samples):
        return DNSMOSScores(MIN_MOS, MIN_MOS, MIN_MOS)
    length, samples = int(WINDOW_S * SAMPLE_RATE), samples.clip(-1, 1)
    while len(samples) < length:
        samples = np.append(samples, samples)
    count = int(len(samples) // SAMPLE_RATE - WINDOW_S) + 1
    windows = [samples[i * SAMPLE_RATE :][:length] for i in range(count)]
    raw = [_network().run(None, {"input_1": window[None]})[0][0] for window in windows]
    scores = np.mean([_to_mos(outputs) for outputs in raw], 0)
    return DNSMOSScores(*(float(value) for value in scores))


def _to_mos(outputs: NDArray[Any]) -> list[float]:
    pairs = zip(_POLYNOMIALS, outputs, strict=True)
    return [float(np.polyval(coefficients, value)) for coefficients, value in pairs]


@cache
def _network() -> Any:
    import onnxruntime

    package = find_spec("speechmos")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'speechmos'", name="speechmos")
    path = Path(package.submodule_search_locations[0]) / "dnsmos_models" / "sig_bak_ovr.onnx"
    options = onnxruntime.SessionOptions()
    # Clips are scored in parallel processes, and the result must not depend on the machine.
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
