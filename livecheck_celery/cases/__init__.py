"""What a person declares: cases and their signals."""
