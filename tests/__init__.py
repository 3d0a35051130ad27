"""Tests, by kind; `tests.strategies` draws the random values they share."""
