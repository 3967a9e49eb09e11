"""Training losses, one file each: a function with the formula, a thin module with the settings."""
