"""Video, sound and pictures in and out, threads between them, and what keeps native libraries quiet."""
