"""The engine as a service: frameworks and agents call in, instructions go out.

`Master` is the policy: synchronous, without I/O. `server` is the one module that knows HTTP.
"""
