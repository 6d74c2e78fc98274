"""A module from a folder's config and weights, built only once it is known that they fit.

A stranger's config may ask for 10^9 layers, or for terabytes. So its numbers are looked at first; then the
module is planned on PyTorch's `meta` device, where a tensor has a shape and no memory, and given up as soon
as it has more parts than the weights can be for; and only a plan whose names and shapes are those of the
weights is built. What that costs is bounded by the size of the weights. Knows no model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import get_ident
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registrations
from torch.overrides import TorchFunctionMode

from lip2speech.checkpoint import CheckpointError, check_fit, load_into

M = TypeVar("M", bound=nn.Module)

LARGEST = 1 << 20
"""Of a number that is no tensor's side, as a sample rate."""
MOST_ENTRIES = 64
"""Of a list, where there are fewer tensors."""
PARTS = 16
"""Modules, parameters and buffers for each tensor; our models have 1.5 to 3.5."""
FEW_PARTS = 256
SIZED = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.randint, torch.eye}
MOST_MADE = 1 << 24
"""Numbers that a module makes anew, as windows and filters; our models make 65 536 at most."""


def restore(
    build: Callable[[], M],
    config: Any,
    tensors: Mapping[str, Tensor],
    where: str,
    *,
    check: Callable[[M], None] | None = None,
) -> M:
    """The module that `build` makes of `config`, with these weights.

    Args:
        build: makes the module with fresh weights; called twice, first on `meta`.
        config: the dataclass that `build` reads.
        where: the config's name, for errors.
        check: what must be true of the module beside its weights; raises on its own.
    Raises:
        CheckpointError: config and weights do not fit, or no sound config asks for so much.
    """
    plan = planned(build, config, tensors.values(), where)
    if check is not None:
        check(plan)
    check_fit(plan, tensors)
    module = build()
    load_into(module, tensors)
    return module


def planned(build: Callable[[], M], config: Any, tensors: Iterable[Tensor], where: str) -> M:
    """The module without memory. CheckpointError: it is no module, or too large for these weights."""
    weights = list(tensors)
    check_numbers(config, weights, where)
    try:
        with wall(FEW_PARTS + PARTS * len(weights), config, where), MetaDeviceMode():
            plan = build()
    except (ArithmeticError, IndexError, RuntimeError, TypeError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise CheckpointError(f"{where}: its numbers describe no model ({reason}).") from error
    stored = plan.state_dict()
    made = sum(buffer.numel() for name, buffer in plan.named_buffers() if name not in stored)
    if made > MOST_MADE:
        raise CheckpointError(
            f"{where}: asks for {made} numbers beside the weights; its largest is {largest(config, where)}."
        )
    return plan


def check_numbers(config: Any, weights: list[Tensor], where: str) -> None:
    """CheckpointError names the first number or list that no model of these weights has."""
    most = max([LARGEST, *(side for tensor in weights for side in tensor.shape)])
    entries = max(MOST_ENTRIES, len(weights))
    for name, value in leaves(config, where):
        if isinstance(value, tuple | list) and len(value) > entries:
            raise CheckpointError(f"{name}: has {len(value)} entries, expected {entries} or fewer.")
        if isinstance(value, int | float) and not abs(value) <= most:  # NaN is not, either
            raise CheckpointError(
                f"{name}: is {value}, expected {most} or less, as no side of a stored tensor is larger."
            )


def leaves(config: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every list before what it holds, and every value, with its name from the top."""
    if dataclasses.is_dataclass(config):
        for field in dataclasses.fields(config):
            yield from leaves(getattr(config, field.name), f"{name}.{field.name}")
        return
    yield name, config
    if isinstance(config, tuple | list):
        for i, item in enumerate(config):
            yield from leaves(item, f"{name}[{i}]")


def largest(config: Any, where: str) -> str:
    """The config's largest number, for an error: whoever asks for too much has most likely put it there."""
    found = [(value, name) for name, value in leaves(config, where) if isinstance(value, int | float)]
    value, name = max(found, default=(0, where))
    return f"{name} {value}"


@contextmanager
def wall(most: int, config: Any, where: str) -> Iterator[None]:
    """Within it this thread may give modules `most` parts; CheckpointError at the next."""
    thread, count = get_ident(), 0

    def counted(*_: object) -> None:
        nonlocal count
        count += get_ident() == thread
        if count > most:
            raise CheckpointError(
                f"{where}: asks for more parts than its weights can fill; its largest number is "
                f"{largest(config, where)}."
            )

    handles = [
        registrations.register_module_module_registration_hook(counted),
        registrations.register_module_parameter_registration_hook(counted),
        registrations.register_module_buffer_registration_hook(counted),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class MetaDeviceMode(TorchFunctionMode):
    """What is made by its size is made on `meta`; normal numbers are not drawn, nor weights' norms taken.

    Those, and ranges and windows, import for over a second on `meta`. Ranges and windows stay real: they are
    as long as one number of the config.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in SIZED:
            kwargs = kwargs | {"device": "meta"}
        elif func.__name__.endswith("normal_"):  # the tensor's own, and those of nn.init
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        elif func is torch.norm_except_dim:  # (weight, power, dim), of a weight norm's
            weight, _, dim = args
            return weight.new_empty([size if i == dim else 1 for i, size in enumerate(weight.shape)])
        return func(*args, **kwargs)
