"""The door: what a user types, and the story of a job."""
