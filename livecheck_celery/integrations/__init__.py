"""What frameworks name in their settings: each makes or finds a LiveCheck and puts it in place."""
