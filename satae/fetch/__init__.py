"""What lies on servers, brought into a cache and read as local files: nothing connects that was not allowed to."""
