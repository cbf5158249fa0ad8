"""Starts the command line: `python -m satae`."""

from satae.cli.app import main

main()
