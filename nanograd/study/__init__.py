"""Study a backward pass by hand: its derivation checked line by line, its numbers, its mistakes, on paper or on a page."""
