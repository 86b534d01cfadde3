"""Training of the demo's small world model from simulated clips: `python -m vjepa_ac.train`."""
