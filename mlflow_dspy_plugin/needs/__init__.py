"""What a program needs where it loads: installed packages, modules of the user's own, versions."""
