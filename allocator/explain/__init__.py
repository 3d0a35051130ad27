"""Explaining: why a framework is not offered what, found by watching the next cycle on a fork.

`watch` runs that cycle and notes what becomes of each attempt, as `reasons`; `remedies` finds the
smallest `changes` that would lead to an offer; `explanation` puts it together. The engine is known
here only by what it hands over, a `rehearsal`.
"""

from allocator.explain.explanation import Explanation, explain

__all__ = ["Explanation", "explain"]
