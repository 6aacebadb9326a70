"""What hosts name in their own configuration: one module for each kind of host."""
