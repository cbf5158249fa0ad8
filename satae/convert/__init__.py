"""`satae export`: converts a model to fewer bits or for another program, and measures what that costs."""
