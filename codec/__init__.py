"""Motion codec: frames to bytes and back."""
