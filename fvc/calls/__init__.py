"""Calls in real time: cameras, sound cards, windows and sockets."""
