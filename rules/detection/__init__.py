"""Observations to transitions of conditions. The door is `rules.detection.detector`."""
