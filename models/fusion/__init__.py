"""The network that joins a video layer with the drawn picture."""
