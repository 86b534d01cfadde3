"""The demonstration and the evaluation: starts simulator and node, follows them over DDS, reports."""
