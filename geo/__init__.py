"""Where things are: arrays in, arrays out."""
