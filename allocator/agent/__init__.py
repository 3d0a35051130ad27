"""The agent: a machine's resources offered through a master, and the tasks that it runs.

`agent` is the policy, synchronous and free of I/O; a `runtime` runs containers; `service` carries
out what the policy says. Imports neither the engine nor a web framework: an idle agent stays small.
"""
