"""`satae series`: many dates of one place, and what changed there that should not have."""
