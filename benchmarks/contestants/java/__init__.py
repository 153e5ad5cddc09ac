"""The contestants in Java, and what the contestants outside Python share: building, running, checking the answer."""
