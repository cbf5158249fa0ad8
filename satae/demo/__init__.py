"""`satae demo`: the three commands on a made-up scene with planted objects."""
