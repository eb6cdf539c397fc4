"""What this package's own server answers, and how soon, beside a bare web app that awaits the same program."""
