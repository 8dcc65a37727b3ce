"""The landmark network and the restorer."""
