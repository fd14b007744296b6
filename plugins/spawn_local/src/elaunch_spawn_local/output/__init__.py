"""Workers' output: to the console, to files, or to both, without losing a byte."""
