"""`python -m satae`."""

from satae.cli.app import main

main()
