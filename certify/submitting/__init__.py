"""The ways to begin a job: here, on a cluster, for a model of somebody else."""
