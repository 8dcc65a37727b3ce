"""`fvc measure`: bits and quality of one's own videos against other codecs, and its report."""
