"""The command line, one file a command: parses options, calls one tool, prints paths and tables."""
