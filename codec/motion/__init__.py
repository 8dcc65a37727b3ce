"""What moves in a face, as numbers: samples, integers, prediction, entropy coding, rate. No packets, no pixels."""
