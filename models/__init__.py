"""Networks, presets, weights and the inference runtime."""
