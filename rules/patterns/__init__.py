"""Patterns over sightings that a Detector and the Desk both look for: pure, of no stream."""
