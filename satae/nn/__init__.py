"""What architectures and score heads are made of."""
