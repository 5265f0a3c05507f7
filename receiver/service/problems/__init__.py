"""What is wrong with the fleet now."""
