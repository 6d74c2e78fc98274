"""`python -m lip2speech` is the `lip2speech` command."""

from lip2speech.cli import main

main()
