"""The shell: Kafka, files, clocks and processes around the pure core."""
