"""Compiled tests' benches: what tests do with, and see of, the inside of compiled modules.

They cimport the shipped modules, as other compiled modules do, and are built beside them in a
checkout (`setup.py build_ext --inplace`, an editable install), but are no part of a wheel.
"""
