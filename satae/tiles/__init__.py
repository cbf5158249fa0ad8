"""`satae tile`: cuts scenes into tile sets and chooses which tiles are held out."""
