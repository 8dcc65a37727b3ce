"""Networks, presets and weights."""
