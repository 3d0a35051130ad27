"""The JSON that master, agents and clients speak, and how they prove who they are.

Typed with msgspec (extra `master`); imports neither the engine nor a web server, so that an agent
process stays small.
"""
