"""What a user asks for: the job file, checked whole before anything starts."""
