"""What an observation means and what to do about it: the pure core behind two doors, Detector and Desk."""
