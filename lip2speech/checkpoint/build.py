"""Modules from a config and weights; nothing large is allocated before both are known to fit.

The config of a downloaded folder may ask for 10^9 layers or for terabytes. So its numbers are checked first,
then the module is built on PyTorch's `meta` device, where tensors have shapes and no memory, within a budget
of operations that grows with the number of stored tensors. Only if names and shapes match the weights is the
module built for real: buffers that are not stored (masks, windows) have no values on `meta`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lip2speech.checkpoint.errors import CheckpointError
from lip2speech.checkpoint.weights import check_state_dict, load_weights

M = TypeVar("M", bound=nn.Module)

MAX_NUMBER = 1 << 20
"""Limit of a number that is not the size of a stored tensor, such as a sample rate."""
MAX_ENTRIES = 64
"""Limit of the length of a list, if there are fewer stored tensors than that."""
MIN_OPERATIONS, OPERATIONS_PER_TENSOR = 1024, 64
"""Budget of PyTorch calls while building on `meta`; our models need at most 13 for each stored tensor."""
MAX_BUFFER_NUMEL = 1 << 24
"""Limit of elements in buffers that are not stored, such as windows; our models have at most 65 536."""
SHARES = {
    "dropout", "attention_dropout", "activation_dropout", "dropout_input", "layerdrop", "decay",
    "trim_right_ratio", "quantizer_bypass_prob", "quantizer_dropout",
}  # fmt: skip
"""Numbers that are 0 to 1; all others are 0 or more."""
FACTORIES = {
    torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.randint, torch.eye
}  # fmt: skip


def build_and_load(
    build: Callable[[], M],
    config: Any,
    tensors: Mapping[str, Tensor],
    where: str,
    *,
    check: Callable[[M], None] | None = None,
) -> M:
    """The module that `build` returns, with these weights.

    Args:
        build: returns the module with fresh weights; called twice, first on `meta`.
        config: the dataclass that `build` reads.
        tensors: the weights.
        where: name of the config in errors.
        check: further requirements on the module built on `meta`; raises its own errors.

    Raises:
        CheckpointError: config and weights do not fit, or the config asks for too much.
    """
    plan = build_on_meta(build, config, tensors.values(), where)
    if check is not None:
        check(plan)
    check_state_dict(plan, tensors)
    module = build()
    load_weights(module, tensors)
    return module


def build_on_meta(build: Callable[[], M], config: Any, tensors: Iterable[Tensor], where: str) -> M:
    """The module without memory.

    Raises:
        CheckpointError: the config describes no model, or one too large for these weights.
    """
    weights = list(tensors)
    check_numbers(config, weights, where)
    largest = largest_field(config, where)
    too_many = f"{where}: asks for more layers than it has weights for; its largest number is {largest}."
    grad_enabled = torch.is_grad_enabled()
    try:
        with MetaDeviceMode(MIN_OPERATIONS + OPERATIONS_PER_TENSOR * len(weights), too_many):
            plan = build()
    except (ArithmeticError, IndexError, RuntimeError, TypeError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise CheckpointError(f"{where}: its numbers describe no model ({reason}).") from error
    finally:
        torch.set_grad_enabled(grad_enabled)  # the end of a `no_grad` may be what exceeded the budget
    stored = plan.state_dict()
    numel = sum(buffer.numel() for name, buffer in plan.named_buffers() if name not in stored)
    if numel > MAX_BUFFER_NUMEL:
        raise CheckpointError(
            f"{where}: asks for {numel} numbers besides the weights; its largest number is {largest}."
        )
    return plan


def check_numbers(config: Any, weights: list[Tensor], where: str) -> None:
    """Check that no number is negative, no share above 1, and nothing larger than these weights allow.

    Raises:
        CheckpointError: names the first that is.
    """
    max_number = max([MAX_NUMBER, *(size for tensor in weights for size in tensor.shape)])
    max_entries = max(MAX_ENTRIES, len(weights))
    for name, value in iter_fields(config, where):
        if isinstance(value, tuple | list) and len(value) > max_entries:
            raise CheckpointError(f"{name}: has {len(value)} entries, expected {max_entries} or fewer.")
        if isinstance(value, int | float) and value < 0:
            raise CheckpointError(f"{name}: is {value}, expected 0 or more.")
        if name.rpartition(".")[2] in SHARES and isinstance(value, int | float) and not value <= 1:
            raise CheckpointError(f"{name}: is {value}, expected 0 to 1.")
        if isinstance(value, int | float) and not value <= max_number:  # refuses NaN too
            raise CheckpointError(
                f"{name}: is {value}, expected {max_number} or less, as no stored tensor is larger."
            )


def iter_fields(config: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every value of a config with its dotted name; a list comes before its items."""
    if dataclasses.is_dataclass(config):
        for field in dataclasses.fields(config):
            yield from iter_fields(getattr(config, field.name), f"{name}.{field.name}")
        return
    yield name, config
    if isinstance(config, tuple | list):
        for i, item in enumerate(config):
            yield from iter_fields(item, f"{name}[{i}]")


def largest_field(config: Any, where: str) -> str:
    """The largest number of a config and its name: most likely the one that asks for too much."""
    found = [(value, name) for name, value in iter_fields(config, where) if isinstance(value, int | float)]
    value, name = max(found, default=(0, where))
    return f"{name} {value}"


class MetaDeviceMode(TorchFunctionMode):
    """Creates tensors on `meta`, in this thread only; does not draw normal numbers or compute weight norms.

    `torch.device("meta")` alone would not do: there, `normal_`, `arange` and windows go through PyTorch's
    reference implementations, whose import takes more than two seconds. Ranges and windows stay real: each is
    as long as one number of the config.

    Args:
        max_operations: PyTorch calls allowed.
        message: of the CheckpointError raised at the next one.
    """

    def __init__(self, max_operations: int, message: str):
        super().__init__()
        self.remaining, self.message = max_operations, message

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.remaining -= 1
        if self.remaining < 0:
            raise CheckpointError(self.message)
        kwargs = kwargs or {}
        if func in FACTORIES:
            kwargs = kwargs | {"device": "meta"}
        elif func.__name__.endswith("normal_"):  # the tensor's method, and those of nn.init
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        elif func is torch.norm_except_dim:  # (weight, power, dim), called by weight norms
            weight, _, dim = args
            return weight.new_empty([size if i == dim else 1 for i, size in enumerate(weight.shape)])
        return func(*args, **kwargs)
