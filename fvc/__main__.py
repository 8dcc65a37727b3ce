"""`python -m fvc`."""

from fvc.cli.main import main

main()
