"""What must not travel with a program, and how it is left out: secrets, past prompts, callbacks."""
