"""The agents: read a chunk, call a door, send what comes out, and only then count it as done."""
