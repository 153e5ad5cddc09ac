"""Where what the core says is carried beyond the topics. A sink is never the truth: the topics are."""
