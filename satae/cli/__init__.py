"""The commands as they are typed: a file each, options in, one call of a tool, paths and tables out."""
