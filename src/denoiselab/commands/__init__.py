"""The command line: `main` chooses the command; torch is imported by what needs it alone."""
