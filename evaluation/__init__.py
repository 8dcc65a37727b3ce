"""Evaluation of the codec: metrics, comparisons, speed, calls, and single studies."""
