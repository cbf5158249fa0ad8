"""`satae export`: a model in fewer bits, or for another program, and what that costs."""
