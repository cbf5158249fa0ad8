"""The table of epochs: the numbers of the history, in columns that a spreadsheet reads."""

from __future__ import annotations

import csv
import io
import json

import pandas
import pytest

from satae.nn.checkpoint import Epoch
from satae.training import documents


def test_the_table_has_a_row_an_epoch_and_a_column_for_what_terms_of_the_loss_say() -> None:
    first = Epoch(1, 0.75, 0.5, 0.002, 1.25, 3.0, {"discriminator_accuracy": 0.5}, {"down": 0.1}, 0.25)
    table = pandas.read_csv(
        io.StringIO(documents.history_table([first, Epoch(2, 0.5, 0.25, 0.001, 1.0, 3.0)]))
    )
    assert table["train_loss"].tolist() == [0.75, 0.5] and table["clipped"].tolist() == [0.25, 0.0]
    assert table["discriminator_accuracy"].isna().tolist() == [False, True] and "seconds" not in table


@pytest.mark.parametrize("number", [0.1 + 0.2, 1e-300, 12345.678901234567])
def test_numbers_are_told_to_the_last_digit(number: float) -> None:
    (row,) = csv.DictReader(io.StringIO(documents.history_table([Epoch(1, number, number, 0, 0, 0)])))
    assert float(row["val_loss"]) == number == json.loads(json.dumps(number))
