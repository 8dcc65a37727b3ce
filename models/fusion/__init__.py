"""The network that joins a video layer with the drawn picture, and how it runs."""
