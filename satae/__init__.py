"""Unsupervised anomaly detection for satellite imagery, from GeoTIFF scenes to georeferenced layers."""

__version__ = "0.1.0"
