"""`fvc reproduce`: the tables and figures of the paper, its numbers beside ours."""
