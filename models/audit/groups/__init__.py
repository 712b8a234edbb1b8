"""Groups of steps that are one function, each with a theorem better than its parts' rules."""
