"""`satae train`: tile sets in; a fitted, exported, calibrated and checked model out."""
