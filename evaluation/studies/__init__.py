"""Single questions, each with a command of its own: bits, operating points, sources, landmarks, round trips."""
