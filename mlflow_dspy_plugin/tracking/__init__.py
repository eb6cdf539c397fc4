"""What improves a program: optimizers and evaluations become runs."""
