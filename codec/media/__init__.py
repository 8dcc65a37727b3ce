"""Video, sound and pictures in and out, threads between them, side effects of native libraries."""
