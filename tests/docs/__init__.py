"""What the documents say is tried: the code in them is run as it stands."""
