"""What holds for the tree as a whole: who imports whom, what an image holds, what is documented, what is locked."""
