"""The two services with nothing between them but HTTP: what one mints the other verifies, and so do others."""
