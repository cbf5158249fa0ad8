"""`python -m satae`."""

from satae.cli import main

main()
