"""Sweeps: one scenario at every point of a grid, over and over, on many processes."""

from allocator.sim.sweeps.grid import parse_grid
from allocator.sim.sweeps.sweep import Run, Sweep, sweep

__all__ = ["Run", "Sweep", "parse_grid", "sweep"]
