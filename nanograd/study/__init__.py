"""Study a backward pass: its derivation, line by line, checked on numbers, and the pages that show it."""
