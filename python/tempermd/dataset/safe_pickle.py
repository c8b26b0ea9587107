"""Pickles read safely: arrays and tensors come back, anything else is refused, nothing runs."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from tempermd.records import UserError

ARRAY_KINDS = "biufO"
"""Kinds of number that an array may hold, and objects, which are read by the same rules."""


def load(data: bytes, origin: str) -> Any:
    """Return what a pickle holds, if it is made of numbers, text, arrays and tensors only.

    Raises
    ------
    UserError
        When the pickle asks for any other class or function, or is damaged. What it asked for
        has then not been imported.
    """
    try:
        return _Reader(io.BytesIO(data)).load()
    except _ForeignError as error:
        raise UserError(
            f"{origin}: the entry is a pickle that asks for {error}, which no dataset needs; it "
            "could run code of a stranger's, so it is not opened"
        ) from None
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError) as error:
        raise UserError(f"{origin}: the entry is damaged ({error})") from None
    except (AttributeError, KeyError, RuntimeError, OverflowError, MemoryError) as error:
        raise UserError(f"{origin}: the entry is damaged ({type(error).__name__})") from None


class _ForeignError(Exception):
    """The pickle asks for something that is not on the list."""


class _Reader(pickle.Unpickler):
    """An unpickler that knows a short list of names and imports nothing by the pickle's word."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("numpy.core."):
            module = module.replace("numpy.core.", "numpy._core.", 1)
        if (module, name) not in _KNOWN:
            raise _ForeignError(f"{module}.{name}")
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _ForeignError("an object outside of it")


class _Allowed:
    """A function that a pickle may call, but not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise _ForeignError("a change of this program")


def _dtype(text: str, *_: Any) -> np.dtype:
    # a copy, since pickle sets its state (the byte order) afterwards
    dtype = np.dtype(str(text), copy=True)
    if dtype.kind not in ARRAY_KINDS:
        raise _ForeignError(f"arrays of {dtype}")
    return dtype


def _array(buffer: Any, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(bytearray(buffer), dtype=dtype).reshape(shape, order=order)


def _empty_array(*_: Any) -> np.ndarray:
    return np.ndarray((0,), dtype=np.int8)


def _scalar(dtype: np.dtype, data: bytes) -> Any:
    return np.frombuffer(data, dtype=dtype)[0]


def _bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _ForeignError(f"the encoding {encoding}")
    return text.encode(encoding)


def _tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(array)


def _rebuild_tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Any:
    import torch

    if not isinstance(storage, torch.storage.TypedStorage | torch.UntypedStorage):
        raise _ForeignError(f"a tensor made of {type(storage).__name__}")
    return torch._utils._rebuild_tensor(storage, offset, size, stride)


def _storage(data: bytes) -> Any:
    import torch

    return torch.load(io.BytesIO(data), weights_only=True)


_KNOWN = {
    ("_codecs", "encode"): _Allowed(_bytes),
    ("collections", "OrderedDict"): _Allowed(OrderedDict),
    ("numpy", "dtype"): _Allowed(_dtype),
    ("numpy", "ndarray"): _Allowed(_empty_array),
    ("numpy._core.multiarray", "_reconstruct"): _Allowed(_empty_array),
    ("numpy._core.multiarray", "scalar"): _Allowed(_scalar),
    ("numpy._core.numeric", "_frombuffer"): _Allowed(_array),
    ("torch", "from_numpy"): _Allowed(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Allowed(_rebuild_tensor),
    ("torch.storage", "_load_from_bytes"): _Allowed(_storage),
}
"""What entries name, and what stands for each of these names here."""
