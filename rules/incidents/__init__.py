"""Transitions, tickets, feedback and commands to incidents. The door is `rules.incidents.desk`."""
