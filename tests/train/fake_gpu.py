"""A GPU that is not there: `pretended()` lets tensors say that they are on another device.

Torch's device `meta` stands for it. A tensor there holds a CPU tensor; every operation on it is done by the
CPU's kernel, after a look at where its arguments are: what a GPU would refuse, a tensor of each device in one
operation, is refused here. So values are the CPU's own, and what a GPU computes otherwise is not seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

GPU = torch.device("meta")
CPU = torch.device("cpu")

CROSSING = {"aten::_to_copy", "aten::copy_", "aten::_local_scalar_dense"}
"""From one device to the other."""
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_unsafe_index"}
"""A GPU's tensor may be indexed by those of the CPU."""
DROPOUT = {"aten::native_dropout", "aten::bernoulli_"}
"""What may be drawn on the GPU; all else is to be drawn on the CPU, so that it is the same on either."""


class OnGpu(Tensor):
    """A tensor that says it is on the GPU."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGpu:
        tensor: OnGpu = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=GPU,
        )
        tensor.held = held
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def new_tensor(self, data: Any, **kwargs: Any) -> Tensor:
        return OnGpu(self.held.new_tensor(data, **kwargs))

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("a tensor of the GPU cannot be a numpy array.")


class Everywhere(TorchDispatchMode):
    """Sees operations that make a tensor on the GPU of none that is there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


def dispatch(func: Any, args: Any, kwargs: Any) -> Any:
    """Do one operation on the CPU, and say that its results are where a GPU would have them."""
    given: list[Tensor] = []
    each(lambda x: given.append(x) if isinstance(x, Tensor) else None, (args, kwargs))
    assert not any(x.device == GPU and not isinstance(x, OnGpu) for x in given), "a tensor without values"
    check(func, args, given)
    on_gpu = {id(x.held): x for x in given if isinstance(x, OnGpu)}
    asked = kwargs.get("device")
    there = bool(on_gpu) if asked is None else torch.device(asked) == GPU
    if there and torch.Tag.nondeterministic_seeded in func.tags and func._schema.name not in DROPOUT:
        raise RuntimeError(f"{func._schema.name}: random numbers are drawn on the GPU.")

    def held(x: Any) -> Any:
        if isinstance(x, OnGpu):
            return x.held
        return CPU if isinstance(x, torch.device) else x

    def placed(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return on_gpu.get(id(x)) if id(x) in on_gpu else OnGpu(x) if there else x

    done = func(*each(held, args), **each(held, kwargs))
    if (
        on_gpu and torch.Tag.inplace_view in func.tags
    ):  # what says that it is there must change its shape, too
        with no_dispatch():
            func(*args, **kwargs)
    return each(placed, done)


def each(change: Callable[[Any], Any], x: Any) -> Any:
    """What an operation is given or gives, with every value in its lists, tuples and dicts changed; torch's
    own tree_map is several times slower."""
    if type(x) in (tuple, list):
        return type(x)([each(change, one) for one in x])
    return {name: each(change, one) for name, one in x.items()} if type(x) is dict else change(x)


def check(func: Any, args: Any, given: list[Tensor]) -> None:
    """RuntimeError where a GPU would raise one: tensors of both devices, unless a CPU's index meets a GPU's
    tensor, or its single number does in what is done value by value."""
    name, pointwise = func._schema.name, torch.Tag.pointwise in func.tags
    if name in CROSSING or not any(isinstance(x, OnGpu) for x in given):
        return
    if name in INDEXING and isinstance(args[0], OnGpu):
        indices = {id(x) for x in args[1]}
        given = [x for x in given if id(x) not in indices]
    into = args[0] if func._schema.is_mutable else None
    single = [x for x in given if pointwise and not x.dim() and x is not into]
    strangers = [x for x in given if not isinstance(x, OnGpu) and not any(x is one for one in single)]
    if strangers:
        shapes = ", ".join(str(tuple(x.shape)) for x in strangers)
        raise RuntimeError(f"{name}: a tensor {shapes} of the CPU meets one of the GPU.")


@contextmanager
def pretended() -> Iterator[torch.device]:
    """In it there is a GPU, the device that is given."""
    autocast, tensor, apply = torch.autocast, torch.tensor, nn.Module._apply

    def cast(kind: str, *args: Any, **kwargs: Any) -> Any:
        return autocast("cpu" if kind == GPU.type else kind, *args, **kwargs)

    def made(data: Any, *, device: torch.device = CPU, **kwargs: Any) -> Tensor:
        return tensor(data, **kwargs).to(device)

    def moved(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        """A parameter that goes to a real GPU stays the object that it was; ours does so when swapped."""
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            return apply(module, *args, **kwargs)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch, Everywhere():
        warnings.filterwarnings("ignore", message=".*which is a no-op")  # it copies, for values are held
        patch.setattr(torch, "autocast", cast)
        patch.setattr(torch, "tensor", made)
        patch.setattr(nn.Module, "_apply", moved)
        yield GPU
