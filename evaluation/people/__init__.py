"""What people prefer: a page that asks them, and the count of their answers."""
