"""A model file and what it scores: anomaly map, regions, probabilities, on numpy and ONNX Runtime alone."""
