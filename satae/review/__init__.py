"""`satae review`: a page on this machine where an analyst accepts, rejects and labels regions."""
