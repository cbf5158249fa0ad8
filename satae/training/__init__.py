"""`satae train`: fits a model to tile sets, exports it to ONNX, calibrates and checks it."""
