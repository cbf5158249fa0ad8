"""The layers of a result: their columns, and how QGIS shows them."""
