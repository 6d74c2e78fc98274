"""Streaming 1-d convolutions with built-in padding, as in EnCodec (Défossez et al. 2022, section 3.1).

A convolution of stride s turns T samples into ceil(T / s) frames, a transposed one T frames into T * s
samples. Causal layers pad on the left only and also run in chunks by `step`, which returns the last inputs as
a state for the next step. With pad_mode "reflect" the padding is the reflected start of the first chunk, so
that chunk must be longer than the layer's context; later ones may have any length.

Memory layout: tensors have shape (B, C, T) but may be channels-last (see `channels_last`). oneDNN is 1.2 to 3
times faster that way for SEANet's few channels and long signals, so every layer preserves the layout of its
input: it computes a (1 x k) 2-d convolution, since PyTorch has no channels-last layout for 1-d ones.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

PadMode = Literal["constant", "reflect"]
Norm = Literal["none", "weight_norm", "time_group_norm"]
NORMS = ("none", "weight_norm", "time_group_norm")
PAD_MODES = ("constant", "reflect")

State = Any
"""State of a layer between steps: a tensor, a pair of tensors, a list for a stack, or None at the start."""

Conv = TypeVar("Conv", nn.Conv1d, nn.ConvTranspose1d)
Net = TypeVar("Net", bound=nn.Module)


def channels_last(x: Tensor) -> Tensor:
    """(B, C, T) in channels-last memory layout."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def fold_weight_norm(module: Net) -> Net:
    """Remove weight norms inside `module`, keeping the weights they compute; returns `module`."""
    for layer in module.modules():
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return module


def step_layers(
    layers: Iterable[nn.Module], x: Tensor, state: Sequence[State] | None
) -> tuple[Tensor, list[State]]:
    """One step through a stack of layers; layers without `step` must work sample by sample.

    Shape: x (B, C, T) -> (B, C', T').
    """
    layers = list(layers)
    states = [None] * len(layers) if state is None else state
    new_state: list[State] = []
    for layer, layer_state in zip(layers, states, strict=True):
        if hasattr(layer, "step"):
            x, layer_state = cast(Any, layer).step(x, layer_state)
        else:
            x = layer(x)
        new_state.append(layer_state)
    return x, new_state


class StreamingConv1d(nn.Module):
    """Convolution with built-in padding.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: at least stride.
        stride: of the convolution.
        dilation: of the convolution.
        groups: of the convolution.
        bias: whether the convolution has one.
        causal: pad on the left only, so that no output depends on later inputs.
        pad_mode: "constant" (zeros) or "reflect" (as the public EnCodec weights; needs a long first step).
        norm: "weight_norm" on the weight, "time_group_norm" on the output, or "none".

    Shape:
        forward: (B, C_in, T) -> (B, C_out, ceil(T / stride))
        step: the same for T a multiple of stride; state (B, C_in, kernel - stride)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        causal: bool = True,
        pad_mode: PadMode = "constant",
        norm: Norm = "none",
    ):
        super().__init__()
        _check_choices(pad_mode, norm, causal)
        self.causal, self.pad_mode = causal, pad_mode
        self.stride, self.dilation, self.groups = stride, dilation, groups
        # Inputs of one output besides its own stride.
        self.context = (kernel_size - 1) * dilation + 1 - stride
        if self.context < 0:
            raise ValueError(f"kernel_size must be at least stride, got {kernel_size} and stride {stride}.")
        conv = nn.Conv1d(
            in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups, bias=bias
        )
        self.conv, self.norm = _with_norm(conv, norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, T) -> (B, C_out, ceil(T / stride))."""
        left = self.context if self.causal else self.context - self.context // 2
        right = self.context - left + -x.shape[-1] % self.stride
        return self._run(pad(x, left, right, self.pad_mode))

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C_in, T), state -> (B, C_out, T / stride), state. T must be a multiple of stride."""
        require_streamable(self)
        if x.shape[-1] % self.stride:
            raise ValueError(
                f"a step needs a multiple of {self.stride} samples, got {x.shape[-1]}; "
                "buffer the rest for the next step."
            )
        x, state = with_context(x, self._initial_context(x) if state is None else state, self.context)
        if x.shape[-1] == self.context:
            return x.new_zeros(x.shape[0], self.conv.out_channels, 0), state
        if self.groups == 1:
            y = conv1d_matmul(x, self.conv.weight, self.conv.bias, self.stride, self.dilation)
            return self.norm(y), state
        return self._run(x), state

    def _initial_context(self, x: Tensor) -> Tensor | None:
        """Context of the first chunk (B, C_in, T): zeros (None), or its reflection."""
        if self.pad_mode == "constant":
            return None
        if x.shape[-1] <= self.context:
            raise ValueError(
                f"the first step of a layer with pad_mode='reflect' needs more than {self.context} samples, "
                f"got {x.shape[-1]}; pass a longer first chunk, or run the whole input."
            )
        return x[..., 1 : self.context + 1].flip(-1)

    def _run(self, x: Tensor) -> Tensor:
        """Padded (B, C_in, T) -> (B, C_out, frames)."""
        weight, bias = self.conv.weight, self.conv.bias
        out: Tensor = self.norm(conv1d(x, weight, bias, self.stride, self.dilation, self.groups))
        return out


class StreamingConvTranspose1d(nn.Module):
    """Transposed convolution, trimmed to T * stride, for kernels that are a multiple of the stride.

    Computed as a convolution over kernel / stride frames whose output channels are the `stride` phases, which
    are then interleaved in time: the same sums, 2 to 3 times faster on CPU than `conv_transpose1d`, and
    causal.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: a multiple of stride.
        stride: upsampling factor.
        causal: trim on the right only (see trim_right_ratio).
        norm: as in `StreamingConv1d`.
        trim_right_ratio: fraction of the trimming on the right in causal layers, which are streamable
            at 1 only.

    Shape:
        forward: (B, C_in, T) -> (B, C_out, T * stride)
        step: the same; state (B, C_in, kernel / stride - 1)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int,
        causal: bool = True,
        norm: Norm = "none",
        trim_right_ratio: float = 1.0,
    ):
        super().__init__()
        _check_choices("constant", norm, causal)
        if kernel_size % stride:
            raise ValueError(
                f"kernel_size must be a multiple of stride, got {kernel_size} and stride {stride}."
            )
        self.causal, self.pad_mode, self.stride = causal, "constant", stride
        self.trim_right_ratio = trim_right_ratio
        surplus = kernel_size - stride
        self.trim_right = math.ceil(surplus * trim_right_ratio) if causal else surplus // 2
        self.trim_left = surplus - self.trim_right
        self.context = kernel_size // stride - 1
        conv = nn.ConvTranspose1d(in_channels, out_channels, kernel_size, stride=stride)
        self.conv, self.norm = _with_norm(conv, norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, T) -> (B, C_out, T * stride)."""
        if self.trim_left == 0 and isinstance(self.norm, nn.Identity):
            return self._run(pad(x, self.context, 0, "constant"))
        y = self.norm(self._run(pad(x, self.context, self.context, "constant")))
        out: Tensor = y[..., self.trim_left : y.shape[-1] - self.trim_right]
        return out

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C_in, T), state -> (B, C_out, T * stride), state."""
        require_streamable(self)
        x, state = with_context(x, state, self.context)
        if x.shape[-1] == self.context:
            return x.new_zeros(x.shape[0], self.conv.out_channels, 0), state
        return self._run_short(x), state

    def _run_short(self, x: Tensor) -> Tensor:
        """Equal to `_run`, faster for few frames: it rearranges outputs instead of weights."""
        c_in, c_out, kernel_size = self.conv.weight.shape
        taps, bias = kernel_size // self.stride, self.conv.bias
        assert bias is not None, "transposed convolutions are built with a bias"
        # (B, T, C_out, taps, stride): contributions of each frame to its own stride and the next ones.
        taps_out = (x.transpose(1, 2) @ self.conv.weight.view(c_in, -1)).unflatten(
            2, (c_out, taps, self.stride)
        )
        frames = x.shape[-1] - self.context
        summed = sum(taps_out[:, self.context - tap :][:, :frames, :, tap] for tap in range(taps))
        y = cast(Tensor, summed).transpose(2, 3) + bias
        return y.reshape(x.shape[0], frames * self.stride, c_out).transpose(1, 2)

    def _run(self, x: Tensor) -> Tensor:
        """(B, C_in, context + T) -> (B, C_out, T * stride), before norm and trimming."""
        c_in, c_out, kernel_size = self.conv.weight.shape
        taps = kernel_size // self.stride
        # y[t * s + r] = sum_m x[t - m] W[:, :, m * s + r]: phase r, tap m; convolutions need old taps first.
        weight, bias = self.conv.weight, self.conv.bias
        assert bias is not None, "transposed convolutions are built with a bias"
        weight = weight.view(c_in, c_out, taps, self.stride).flip(2)
        weight = weight.permute(3, 1, 0, 2).reshape(self.stride * c_out, c_in, taps)
        phases = conv1d(x, weight, bias.repeat(self.stride))
        batch, _, frames = phases.shape
        y = phases.transpose(1, 2).reshape(batch, frames * self.stride, c_out).transpose(1, 2)
        return y if is_channels_last(x) else y.contiguous()


def conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, dilation: int = 1, groups: int = 1
) -> Tensor:
    """`F.conv1d` without padding that preserves the memory layout of x (B, C_in, T)."""
    y = F.conv2d(
        x.unsqueeze(2), weight.unsqueeze(2), bias, stride=(1, stride), dilation=(1, dilation), groups=groups
    )
    return y.squeeze(2)


def conv1d_matmul(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, dilation: int = 1
) -> Tensor:
    """`conv1d` as one matrix product over copied windows: faster for few frames; the output is channels-last.

    For a short x, a convolution spends most of its time reordering the weight.
    """
    c_out, c_in, kernel_size = weight.shape
    windows = x.unfold(2, (kernel_size - 1) * dilation + 1, stride)[..., ::dilation]
    windows = windows.transpose(1, 2).reshape(x.shape[0], -1, c_in * kernel_size)
    return F.linear(windows, weight.view(c_out, -1), bias).transpose(1, 2)


def pad(x: Tensor, left: int, right: int, mode: PadMode) -> Tensor:
    """(B, C, T) -> (B, C, left + T + right), preserving the memory layout.

    An input too short to be reflected is first zero-padded on the right, as in EnCodec.
    """
    if left == right == 0:
        return x
    if mode == "constant":
        return F.pad(x.unsqueeze(2), (left, right)).squeeze(2)
    missing = max(0, max(left, right) - x.shape[-1] + 1)
    padded = F.pad(F.pad(x, (0, missing)), (left, right), mode="reflect")
    return padded[..., : padded.shape[-1] - missing]


def with_context(x: Tensor, state: Tensor | None, context: int) -> tuple[Tensor, Tensor]:
    """Prepend the context: (B, C, T), state -> (B, C, context + T), next state (B, C, context).

    Without a state the context is zeros. Concatenated channels-last, a layout that `torch.cat` would lose.
    """
    if state is None:
        state = x.new_zeros(x.shape[0], x.shape[1], context)
    x = torch.cat([state.transpose(1, 2), x.transpose(1, 2)], dim=1).transpose(1, 2)
    return x, x[..., x.shape[-1] - context :]


def is_channels_last(x: Tensor) -> bool:
    """Whether (B, C, T) has a channels-last memory layout."""
    return x.transpose(1, 2).is_contiguous() and not x.is_contiguous()


def require_streamable(layer: Any) -> None:
    """ValueError unless the layer is streamable."""
    if not is_streamable(layer):
        raise ValueError(
            "only causal layers with trim_right_ratio 1 run step by step, got "
            f"causal={layer.causal}, trim_right_ratio={getattr(layer, 'trim_right_ratio', 1.0)}; "
            "run the whole input."
        )


def is_streamable(layer: Any) -> bool:
    """Whether a convolution of this module runs step by step."""
    return layer.causal and getattr(layer, "trim_right_ratio", 1.0) == 1.0


def _check_choices(pad_mode: str, norm: str, causal: bool) -> None:
    if pad_mode not in PAD_MODES:
        raise ValueError(f"pad_mode must be one of {', '.join(PAD_MODES)}, got {pad_mode!r}.")
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}.")
    if norm == "time_group_norm" and causal:
        raise ValueError("time_group_norm spans the whole signal, so it needs causal=False.")


def _with_norm(conv: Conv, norm: Norm, channels: int) -> tuple[Conv, nn.Module]:
    """The convolution with a weight norm, if any, and the module that normalizes its output."""
    if norm == "weight_norm":
        return cast(Conv, weight_norm(conv)), nn.Identity()
    return conv, nn.GroupNorm(1, channels) if norm == "time_group_norm" else nn.Identity()
