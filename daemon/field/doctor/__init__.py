"""What is wrong with a line: asked, heard, judged."""
