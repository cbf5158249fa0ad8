"""`satae score`: scenes and a model in; heatmaps, regions and layers out, or nothing."""
