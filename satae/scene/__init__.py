"""From files to pixels, and to which of them count."""
