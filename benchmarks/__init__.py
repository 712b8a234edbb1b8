"""Measured ratios, each paired in one run on one machine; never a test, never a bare time."""
