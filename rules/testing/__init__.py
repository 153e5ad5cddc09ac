"""Rule test files: read, sent through the doors by whoever drives them, judged. Also coverage and mutants."""
