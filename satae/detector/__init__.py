"""The whole detector as one torch module, exactly as the ONNX file holds it."""
