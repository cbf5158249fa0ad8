"""The whole detector as one torch module, which is what the ONNX file holds."""
