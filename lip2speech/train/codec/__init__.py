"""Codec training: one task for every codec; `name` in the YAML says which."""

from lip2speech.train.codec.config import CodecTrainConfig
from lip2speech.train.codec.task import CodecTask

__all__ = ["CodecTask", "CodecTrainConfig"]
