"""Calls over links that lose, delay and reorder, simulated and real."""
