"""What a program is, found by looking at it: its fields, the language models it holds, the keys they need."""
