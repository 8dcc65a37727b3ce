"""Fuzzing of all that reads bytes from others: `targets` is what is tried, `guard` its limits, `run` drives it."""
