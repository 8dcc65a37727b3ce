"""The sender's eye: where the face is, its crop, and which frames become source pictures."""
