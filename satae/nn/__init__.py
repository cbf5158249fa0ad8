"""Building blocks that architectures and score heads share."""
