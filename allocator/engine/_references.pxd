"""Keeping and giving back references to bundles (B1), inline for the modules that cimport this."""

from libc.stdint cimport int32_t

from allocator.engine._bundles cimport NOTHING, Bundles


cdef inline int32_t retained(Bundles bundles, int32_t bundle) noexcept:
    """Return `bundle` with one more reference."""
    if bundle != NOTHING:
        bundles.bundles[bundle].refs += 1
    return bundle


cdef inline int release(Bundles bundles, int32_t bundle) except -1:
    """Give a reference back."""
    if bundle != NOTHING:
        bundles.bundles[bundle].refs -= 1
        if bundles.bundles[bundle].refs == 0:
            bundles.discard(bundle)
    return 0
