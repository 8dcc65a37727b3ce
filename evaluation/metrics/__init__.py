"""How good a picture is: the metrics, the networks that some of them need, and their names in words."""
