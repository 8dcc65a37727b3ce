"""The sender's side of pictures: where the face is, its crop, and which frames become source pictures."""
