"""What one service says and the other one reads, over HTTP, with both as they are."""
