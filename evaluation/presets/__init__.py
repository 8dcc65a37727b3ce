"""`fvc evaluate`: presets and trained baselines drawn on a split of clips."""
