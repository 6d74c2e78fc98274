"""Where a codec's training starts: weights under which every layer passes on as much as it is given.

Mishkin and Matas 2016, "All you need is a good init", section 3: layer by layer, the weights are divided by
the deviation of what they make of real input. Speech is soft and PyTorch's own start loses a part of it in
every layer, so after the ten layers of a SEANet encoder a latent tells of its biases alone, and a short
training ends where it began, in silence. It knows no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lip2speech.codec import Codec
from lip2speech.codec.seanet import SEANetDecoder, SEANetEncoder
from lip2speech.modules.conv import StreamingConv1d, StreamingConvTranspose1d

Layer = StreamingConv1d | StreamingConvTranspose1d

SILENT = 1e-8
"""A layer whose output has less deviation than this has nothing to be scaled by."""


@torch.no_grad()
def even_out(codec: Codec, wav: Tensor) -> None:
    """Scale the weights of SEANet halves on speech (B, 1, T_a), in place: latents of deviation 1, and a sound
    as loud as the speech. A codec whose encoder is another keeps its own start: an encoder of mels has norms,
    and its decoder, evened out, becomes so steep that training does not settle."""
    if not isinstance(codec.encoder, SEANetEncoder):
        return
    latent = even_layers(codec, lambda: codec.latent(wav), [1.0])
    if isinstance(codec.decoder, SEANetDecoder):
        even_layers(codec.decoder, lambda: codec.decode_latent(latent), [1.0, float(wav.std())])


def even_layers(network: nn.Module, run: Callable[[], Tensor], goals: list[float]) -> Tensor:
    """Give every convolution that `run` calls an output of deviation goals[0], the last one goals[-1]."""
    order: list[Layer] = []
    with watching(network, lambda layer, _: order.append(layer)):
        out = run()
    for layer in order:
        if (spread := spread_of(layer, run)) > SILENT:
            weight_of(layer).mul_((goals[-1] if layer is order[-1] else goals[0]) / spread)
    return run() if order else out


def spread_of(layer: Layer, run: Callable[[], Tensor]) -> float:
    """The deviation of a layer's (B, C, T) around the mean of each channel, which a bias alone can make."""
    seen: list[Tensor] = []
    with watching(layer, lambda _, y: seen.append(y)):
        run()
    return float((seen[0] - seen[0].mean((0, 2), keepdim=True)).std())


@contextmanager
def watching(network: nn.Module, see: Callable[[Layer, Tensor], None]) -> Iterator[None]:
    """Every output of a convolution inside `network` is shown to `see`."""
    layers = [module for module in network.modules() if isinstance(module, Layer)]
    hooks = [layer.register_forward_hook(lambda module, _, y: see(module, y)) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def weight_of(layer: Layer) -> Tensor:
    """What scales a layer's output: its weight, or the length of it where that is normed."""
    conv: Any = layer.conv
    normed = hasattr(conv, "parametrizations")
    weight: Tensor = conv.parametrizations.weight.original0 if normed else conv.weight
    return weight
