"""What `mlflow models serve` answers, and how soon, beside a bare web app that awaits the same program."""
