"""Initialization of codecs before training: LSUV for SEANet, centroids for SACodec.

Mishkin and Matas 2016, "All you need is a good init", section 3 (LSUV): orthogonal weights, then layer by
layer divided by the standard deviation of their output on real input. Speech has low amplitude and PyTorch's
default init attenuates it layer by layer; after the ten layers of a SEANet encoder the latent is dominated by
the biases, and short runs collapse to silence. Residual branches start small (De and Smith 2020, "Batch
normalization biases residual blocks towards the identity function in deep networks"): at full scale they
scramble the waveform.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lip2speech import checkpoint
from lip2speech.codecs import Codec, SACodec
from lip2speech.modules.conv import StreamingConv1d, StreamingConvTranspose1d
from lip2speech.modules.seanet import SEANetDecoder, SEANetEncoder, SEANetResnetBlock

Layer = StreamingConv1d | StreamingConvTranspose1d

BRANCH_STD = 0.05
"""Standard deviation of the output of a residual branch, relative to 1 of a layer."""
MIN_STD = 1e-8
"""Layers whose output has a smaller standard deviation are not scaled."""


@torch.no_grad()
def lsuv_init(codec: Codec, wav: Tensor) -> None:
    """Initialize a SEANet encoder and decoder from speech (B, 1, T_a), in place.

    Latents get unit standard deviation, the output that of the speech. Other encoders keep their own init: a
    mel encoder has norms, and its decoder, initialized like this, starts well but becomes so steep that
    training does not converge.
    """
    if not isinstance(codec.encoder, SEANetEncoder):
        return
    init_layers(codec.encoder, lambda: codec.encode_latent(wav), 1.0)
    if isinstance(codec.decoder, SEANetDecoder):
        latent = codec.encode_latent(wav)
        init_layers(codec.decoder, lambda: codec.decode_latent(latent), float(wav.std()))


def init_layers(network: nn.Module, run: Callable[[], Tensor], output_std: float) -> None:
    """Scale every convolution that `run` calls to an output of unit standard deviation.

    The last convolution of a residual branch is scaled to `BRANCH_STD`, the last of all to `output_std`.
    """
    order: list[Layer] = []
    with forward_hooks(network, lambda layer, _: order.append(layer)):
        run()
    branches = {id(block.block[-1]) for block in network.modules() if isinstance(block, SEANetResnetBlock)}
    for layer in order:
        orthogonal_init(layer)
    for layer in order:
        target = output_std if layer is order[-1] else BRANCH_STD if id(layer) in branches else 1.0
        if (std := measure_std(layer, run)) > MIN_STD:
            weight_scale(layer).mul_(target / std)


def orthogonal_init(layer: Layer) -> None:
    """Orthogonal weights, zero biases."""
    conv: Any = layer.conv
    weight = nn.init.orthogonal_(torch.empty_like(conv.weight))
    if has_weight_norm(layer):
        conv.weight = weight  # sets direction and norm
    else:
        conv.weight.copy_(weight)
    if conv.bias is not None:
        conv.bias.zero_()


def measure_std(layer: Layer, run: Callable[[], Tensor]) -> float:
    """Standard deviation of a layer's output (B, C, T) around the mean of each channel."""
    outputs: list[Tensor] = []
    with forward_hooks(layer, lambda _, y: outputs.append(y)):
        run()
    return float((outputs[0] - outputs[0].mean((0, 2), keepdim=True)).std())


@contextmanager
def forward_hooks(network: nn.Module, hook: Callable[[Layer, Tensor], None]) -> Iterator[None]:
    """Call `hook` with every convolution of `network` and its output."""
    layers = [module for module in network.modules() if isinstance(module, Layer)]
    handles = [layer.register_forward_hook(lambda module, _, y: hook(module, y)) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def weight_scale(layer: Layer) -> Tensor:
    """The tensor that scales a layer's output: its weight, or the norm of a weight-normalized one."""
    conv: Any = layer.conv
    scale: Tensor = conv.parametrizations.weight.original0 if has_weight_norm(layer) else conv.weight
    return scale


def has_weight_norm(layer: Layer) -> bool:
    """Whether the layer is weight-normalized."""
    return hasattr(layer.conv, "parametrizations")


def load_semantic_centroids(codec: Codec, folder: str) -> None:
    """Copy the k-means centroids of a unit tokenizer's folder (tensor `centroids`, (K, d)) into a SACodec.

    Raises:
        ValueError: a SACodec without a folder, a folder for another codec, or centroids of another shape.
        CheckpointError: the folder is damaged or incomplete.
    """
    if not isinstance(codec, SACodec):
        if folder:
            raise ValueError(
                f"semantic_centroids are for sacodec, not {type(codec).__name__}; leave them out."
            )
        return
    if not folder:
        raise ValueError(
            "sacodec needs k-means centroids for its semantic codebook; train them with "
            "`lip2speech train kmeans` and set semantic_centroids=FOLDER."
        )
    loaded = checkpoint.load(folder)
    if "centroids" not in loaded.tensors:
        raise ValueError(f"{folder} holds {loaded.config.get('kind')!r}, expected units with centroids.")
    codec.quantizer.semantic.set_centroids(loaded.tensors["centroids"])
