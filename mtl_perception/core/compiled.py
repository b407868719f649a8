# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Functions that Numba compiles, kept on disk: a program that starts again does not wait for the compiler again.

They let go of Python's lock, so that others can work meanwhile, and divide as NumPy does. They are compiled without
`fastmath`, which lets a compiler change the order of additions: a result must not depend on the processor.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import numba
import numpy as np
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher


def compiled(function: Callable[..., Any]) -> Any:
    """Return the function as Numba's dispatcher: compiled when `compile` is given types, or else at the first call.

    What was compiled is kept in $NUMBA_CACHE_DIR, in `__pycache__` beside the function's file, or in the user's folder
    for caches, whichever can be written first; where none can, it is compiled in every process.
    """
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # there is no folder
        dispatcher._cache = _Cache(function)
    return dispatcher


class _Cache(FunctionCache):
    """Numba's cache of a function, which also notices when what the function uses of other files has changed.

    Numba's own looks at the function's file alone, though the machine code has all functions that are called, and the
    values of all globals, in it.
    """

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), _digest(self._py_func))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a broken file raises nearly anything; what it had is compiled again
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(OSError):  # the disk is full: it works, and is compiled again next time
            super().save_overload(sig, data)


def _digest(function: FunctionType) -> str:
    """Return a digest of the code of a function and of all that it calls, and of the globals that they read."""
    seen: dict[str, str] = {}
    left = [function]
    while left:
        this = left.pop()
        name = f"{this.__module__}.{this.__qualname__}"
        if name in seen:
            continue
        codes = list(_codes(this.__code__))
        used = sorted({name for code in codes for name in code.co_names} & this.__globals__.keys())
        values = {name: this.__globals__[name] for name in used}
        left += [value.py_func for value in values.values() if isinstance(value, Dispatcher)]
        constants = {name: repr(value) for name, value in values.items() if isinstance(value, _CONSTANTS)}
        seen[name] = repr(([_content(code) for code in codes], constants))
    return hashlib.sha256(repr(sorted(seen.items())).encode()).hexdigest()


_CONSTANTS = (bool, int, float, complex, str, bytes, tuple, np.generic, np.ndarray)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _content(code: CodeType) -> tuple[Any, ...]:
    constants = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
    return code.co_code, constants, code.co_names, code.co_varnames
