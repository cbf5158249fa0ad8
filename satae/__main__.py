"""Starts the command line: `python -m satae`, and the program `satae`."""

# before all else: what comes next takes seconds, and a signal that comes meanwhile must end the run
from satae import interrupts

interrupts.listen()


def main() -> None:
    """The console script."""
    from satae.cli import app

    app.main()


if __name__ == "__main__":
    main()
