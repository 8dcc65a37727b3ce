"""File in, file out: encode, decode, inspect, repair."""
