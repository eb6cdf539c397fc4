"""A model answers: rows or messages go in, the program runs, rows, messages or a stream come out."""
