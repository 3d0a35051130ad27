"""Columns of amounts: NumPy arrays read as `allocator.resources.fixed` reads each number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allocator.resources.fixed import MAX_MILLI, MILLI, read_milli

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_milli_array(numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Return an array of numbers as amounts in milli, each as `read_milli` reads it.

    Raises
    ------
    ResourceError
        If one is no amount.

    Notes
    -----
    O(n), in NumPy but for numbers that may lie halfway between two thousandths, of which the
    digits decide.

    Examples
    --------
    >>> read_milli_array(np.array([0.1, 2.0005, 3.0])).tolist()
    [100, 2001, 3000]
    """
    kind, size = numbers.dtype.kind, numbers.dtype.itemsize
    if kind in "iu":
        milli, is_sure = _round_integers(numbers)
    elif kind == "f" and size <= 8:
        milli, is_sure = _round_floats(numbers)
    else:
        return np.array([read_milli(number) for number in numbers], np.int64)
    for place in np.flatnonzero(~is_sure):
        number = numbers[place]
        milli[place] = read_milli(number.item() if size == 8 else number)
    return milli


def _round_integers(numbers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return integers in milli, and which of them are in bounds."""
    is_sure = (numbers >= 0) & (numbers <= MAX_MILLI // MILLI)
    return np.where(is_sure, numbers, 0).astype(np.int64) * MILLI, is_sure


def _round_floats(numbers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return floats in milli, and which of them are surely right.

    A float is within half a unit in its last place of its shortest decimal, and so is the product
    of its own: within that of a half thousandth the digits decide. Integers that have a float each
    are their shortest decimal.
    """
    unit = np.finfo(numbers.dtype).eps
    wide = numbers.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        milli = wide * MILLI
        whole = np.floor(milli)
        is_sure = (np.abs(milli - whole - 0.5) > 2 * unit * milli) | (
            (wide == np.floor(wide)) & (wide < 1 / unit)
        )
        rounded = whole + (milli - whole >= 0.5)
        is_sure &= (milli >= 0) & (milli < 2**52) & ((rounded > 0) | (wide == 0))
        return np.where(is_sure, rounded, 0).astype(np.int64), is_sure
