"""Faces of 512x512 pixels, drawn by the networks of 256x256."""
