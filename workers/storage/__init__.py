"""Where files lie: on a disk, or in a bucket of an object store."""
