"""`cuse-scullv serve`: what is asked for, made, kept, and served."""
