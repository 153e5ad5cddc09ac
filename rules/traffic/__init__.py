"""What measurements of segments say of the traffic: its state, interval by interval."""
