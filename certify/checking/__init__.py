"""What is said of a model or a claim that lies there already: its bounds, an audit, a replay."""
