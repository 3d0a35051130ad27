"""Containers: started, watched and ended by a small launcher, limited by cgroups.

`cgroups` finds the hierarchies and knows their values, `_usage` reads what containers use, `plan`
and `protocol` are what the launcher and the inits (in C, `programs`) are told, `launcher` speaks to
them, and `containers` knows all containers of an agent, and gets back those of a former life.
"""
