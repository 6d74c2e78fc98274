"""Automatic speech recognition, by which error rates are measured."""

from __future__ import annotations

from lip2speech.evaluation.asr.registry import ASR, ASR_BACKENDS, load_asr

__all__ = ["ASR", "ASR_BACKENDS", "load_asr"]
