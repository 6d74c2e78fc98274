"""A fake GPU for tests: within `fake_gpu()` tensors can report to be on another device.

Its device is torch's `meta`. A tensor there wraps a CPU tensor, and every operation runs on the CPU after the
devices of its arguments were checked: mixing devices in one operation is refused, as by a GPU. Values are
those of the CPU; numerical differences of a real GPU are not simulated.
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
"""Operations that may cross devices."""
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_unsafe_index"}
"""A GPU tensor may be indexed by CPU tensors."""
DROPOUT = {"aten::native_dropout", "aten::bernoulli_"}
"""Operations that may draw random numbers on the GPU; all others must draw on the CPU."""


class OnGpu(Tensor):
    """A tensor that reports to be on the GPU."""

    wrapped: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, wrapped: Tensor) -> OnGpu:
        tensor: OnGpu = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            wrapped.shape,
            strides=wrapped.stride(),
            storage_offset=wrapped.storage_offset(),
            dtype=wrapped.dtype,
            device=GPU,
        )
        tensor.wrapped = wrapped
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.wrapped.tolist()

    def new_tensor(self, data: Any, **kwargs: Any) -> Tensor:
        return OnGpu(self.wrapped.new_tensor(data, **kwargs))

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("a tensor of the GPU cannot be a numpy array.")


class FactoryDispatch(TorchDispatchMode):
    """Dispatches operations that create a tensor on the GPU from none that is there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


def dispatch(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation on the CPU and wrap its results as a GPU would place them."""
    given: list[Tensor] = []
    each(lambda x: given.append(x) if isinstance(x, Tensor) else None, (args, kwargs))
    assert not any(x.device == GPU and not isinstance(x, OnGpu) for x in given), "a tensor without values"
    check(func, args, given)
    on_gpu = {id(x.wrapped): x for x in given if isinstance(x, OnGpu)}
    asked = kwargs.get("device")
    there = bool(on_gpu) if asked is None else torch.device(asked) == GPU
    if there and torch.Tag.nondeterministic_seeded in func.tags and func._schema.name not in DROPOUT:
        raise RuntimeError(f"{func._schema.name}: random numbers are drawn on the GPU.")

    def unwrap(x: Any) -> Any:
        if isinstance(x, OnGpu):
            return x.wrapped
        return CPU if isinstance(x, torch.device) else x

    def wrap(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return on_gpu.get(id(x)) if id(x) in on_gpu else OnGpu(x) if there else x

    done = func(*each(unwrap, args), **each(unwrap, kwargs))
    if on_gpu and torch.Tag.inplace_view in func.tags:  # the wrapper must change its shape, too
        with no_dispatch():
            func(*args, **kwargs)
    return each(wrap, done)


def each(change: Callable[[Any], Any], x: Any) -> Any:
    """Apply `change` to every value in nested lists, tuples and dicts; several times faster than tree_map."""
    if type(x) in (tuple, list):
        return type(x)([each(change, one) for one in x])
    return {name: each(change, one) for name, one in x.items()} if type(x) is dict else change(x)


def check(func: Any, args: Any, given: list[Tensor]) -> None:
    """Raise RuntimeError where a GPU would: for tensors of both devices, except CPU indices of a GPU tensor
    and CPU scalars in pointwise operations."""
    name, pointwise = func._schema.name, torch.Tag.pointwise in func.tags
    if name in CROSSING or not any(isinstance(x, OnGpu) for x in given):
        return
    if name in INDEXING and isinstance(args[0], OnGpu):
        indices = {id(x) for x in args[1]}
        given = [x for x in given if id(x) not in indices]
    into = args[0] if func._schema.is_mutable else None
    single = [x for x in given if pointwise and not x.dim() and x is not into]
    mixed = [x for x in given if not isinstance(x, OnGpu) and not any(x is one for one in single)]
    if mixed:
        shapes = ", ".join(str(tuple(x.shape)) for x in mixed)
        raise RuntimeError(f"{name}: a tensor {shapes} of the CPU meets one of the GPU.")


@contextmanager
def fake_gpu() -> Iterator[torch.device]:
    """Provide a fake GPU; yields its device."""
    autocast, tensor, apply = torch.autocast, torch.tensor, nn.Module._apply

    def cast(kind: str, *args: Any, **kwargs: Any) -> Any:
        return autocast("cpu" if kind == GPU.type else kind, *args, **kwargs)

    def made(data: Any, *, device: torch.device = CPU, **kwargs: Any) -> Tensor:
        return tensor(data, **kwargs).to(device)

    def moved(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        """Keep parameters the same objects when they move, as on a real GPU."""
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            return apply(module, *args, **kwargs)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch, FactoryDispatch():
        warnings.filterwarnings("ignore", message=".*which is a no-op")  # it does copy: the wrapped values
        patch.setattr(torch, "autocast", cast)
        patch.setattr(torch, "tensor", made)
        patch.setattr(nn.Module, "_apply", moved)
        yield GPU
