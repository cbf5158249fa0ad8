"""`satae score`: applies a model to scenes and writes heatmaps, regions and layers, all or nothing."""
