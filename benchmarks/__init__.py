"""What an explanation costs, measured side by side."""
