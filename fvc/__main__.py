"""`python -m fvc`."""

from fvc.cli import main

main()
