"""A Django application whose models hold personal information."""
