"""What an analyst decided about regions: read from a result, carried over to the next, learned from."""
