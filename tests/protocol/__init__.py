"""What the specifications say, table by table; files are named after the RFC."""
