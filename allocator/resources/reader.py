"""Reading whatever stands for resources: text, mappings, v1 JSON, entries, and lists of these."""

from allocator.errors import check_built

try:
    from allocator.resources._reader import is_v1, read_entries, read_sum
except ModuleNotFoundError as error:
    check_built(error)
    raise

#: Texts up to this length are kept parsed by those who read them; longer ones seldom recur.
CACHED_TEXT_CHARS = 256

__all__ = ["CACHED_TEXT_CHARS", "is_v1", "read_entries", "read_sum"]
