"""`satae bench`: measures how well detectors find known targets, beside classic methods."""
