"""What the codec achieves: acceptance runs and metrics."""
