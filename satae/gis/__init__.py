"""Rows of each layer as frames, and how QGIS shows them."""
