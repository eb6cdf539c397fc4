"""A record becomes a page that people read: one HTML file without scripts, which needs nothing else."""
