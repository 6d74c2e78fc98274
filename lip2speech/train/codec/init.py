"""Where a codec's training starts: every layer passes on as much as it is given, and nothing twice.

Mishkin and Matas 2016, "All you need is a good init", section 3: orthonormal weights, then layer by layer
divided by the deviation of what they make of real input. Speech is soft and PyTorch's own start loses a part
of it in every layer, so after the ten layers of a SEANet encoder a latent tells of its biases alone, and a
short training ends where it began, in silence. Residual branches start small (De and Smith 2020, "Batch
normalization biases residual blocks towards the identity function in deep networks"): as loud as what they
are added to they scramble the wave. It knows no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lip2speech.codecs import Codec
from lip2speech.modules.conv import StreamingConv1d, StreamingConvTranspose1d
from lip2speech.modules.seanet import SEANetDecoder, SEANetEncoder, SEANetResnetBlock

Layer = StreamingConv1d | StreamingConvTranspose1d

BRANCH = 0.05
"""The deviation of what a residual branch adds, where a layer's is 1."""
SILENT = 1e-8
"""A layer whose output has less deviation than this has nothing to be scaled by."""


@torch.no_grad()
def even_out(codec: Codec, wav: Tensor) -> None:
    """Start the weights of SEANet halves from speech (B, 1, T_a), in place: latents of deviation 1, and a
    sound as loud as the speech. A codec whose encoder is another keeps its own start: an encoder of mels has
    norms, and its decoder, evened out, begins well and becomes so steep that training does not settle."""
    if not isinstance(codec.encoder, SEANetEncoder):
        return
    even_layers(codec.encoder, lambda: codec.encode_latent(wav), 1.0)
    if isinstance(codec.decoder, SEANetDecoder):
        latent = codec.encode_latent(wav)
        even_layers(codec.decoder, lambda: codec.decode_latent(latent), float(wav.std()))


def even_layers(network: nn.Module, run: Callable[[], Tensor], last: float) -> None:
    """Give every convolution that `run` calls an output of deviation 1, the last one of a branch BRANCH, the
    last one of all `last`."""
    order: list[Layer] = []
    with watching(network, lambda layer, _: order.append(layer)):
        run()
    branches = {id(block.block[-1]) for block in network.modules() if isinstance(block, SEANetResnetBlock)}
    for layer in order:
        orthonormal(layer)
    for layer in order:
        goal = last if layer is order[-1] else BRANCH if id(layer) in branches else 1.0
        if (spread := spread_of(layer, run)) > SILENT:
            length_of(layer).mul_(goal / spread)


def orthonormal(layer: Layer) -> None:
    """Weights whose rows are orthonormal, no biases."""
    conv: Any = layer.conv
    weight = nn.init.orthogonal_(torch.empty_like(conv.weight))
    if is_normed(layer):
        conv.weight = weight  # its direction and its length
    else:
        conv.weight.copy_(weight)
    if conv.bias is not None:
        conv.bias.zero_()


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


def length_of(layer: Layer) -> Tensor:
    """What scales a layer's output: its weight, or the length of it where that is normed."""
    conv: Any = layer.conv
    length: Tensor = conv.parametrizations.weight.original0 if is_normed(layer) else conv.weight
    return length


def is_normed(layer: Layer) -> bool:
    """Whether the layer has weight norm."""
    return hasattr(layer.conv, "parametrizations")
