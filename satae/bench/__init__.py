"""`satae bench`: how well detectors find what is known to be there, each beside the classics."""
