"""The asv suite; docs/performance.md says how to run it and what it showed."""
