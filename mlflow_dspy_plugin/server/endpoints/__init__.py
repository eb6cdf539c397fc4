"""What each path of a server answers."""
