"""`satae tile`: a scene cut into a tile set, and what of it is held out."""
