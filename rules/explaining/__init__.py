"""Why a rule raised, or did not: the doors' own decisions, followed step by step and told in words."""
