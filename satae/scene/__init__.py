"""Reads scenes: from files to pixels, and which of these are valid."""
