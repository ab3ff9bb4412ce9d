"""consentry."""
