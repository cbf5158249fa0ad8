"""Groups of options: typer sees each of them, a command gets one object."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from satae.cli.flags import RecipeOptions, spell_out


@dataclass(frozen=True)
class Drink:
    """What is served."""

    sort: Annotated[str, typer.Option(help="Tea or coffee.")] = "tea"
    hot: Annotated[bool, typer.Option("--hot", help="Not cold.")] = False


def serve(guest: Annotated[str, typer.Argument(help="Who drinks.")], drink: Drink, cups: int = 1) -> None:
    """Serve a drink."""
    print(guest, drink, cups)


def typed(*words: str) -> str:
    app = typer.Typer()
    app.command()(spell_out(serve))
    return CliRunner().invoke(app, words).stdout


def test_a_group_of_options_is_typed_one_by_one() -> None:
    assert typed("Ada") == "Ada Drink(sort='tea', hot=False) 1\n"
    assert (
        typed("Ada", "--hot", "--sort", "coffee", "--cups", "2") == "Ada Drink(sort='coffee', hot=True) 2\n"
    )


def test_help_shows_the_options_of_a_group_in_the_place_of_the_group() -> None:
    text = typed("--help")
    assert text.index("Tea or coffee.") < text.index("Not cold.") < text.index("--cups")
    assert "drink" not in text.replace("Serve a drink", "").replace("Who drinks", "")


def test_epochs_are_a_change_like_any_other() -> None:
    assert RecipeOptions().all_changes == []
    assert RecipeOptions(changes=["a=1"], epochs=3).all_changes == ["a=1", "train.epochs=3"]
