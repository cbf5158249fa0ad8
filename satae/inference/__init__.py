"""Applies a model file to pixels: anomaly map, regions, probabilities. Needs numpy and ONNX Runtime, no torch."""
