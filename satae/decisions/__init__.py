"""What an analyst said of regions: read back, carried over to new results, learned from."""
