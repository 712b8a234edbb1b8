"""One execution of a job: its folder, its record, and what is said of it afterwards."""
