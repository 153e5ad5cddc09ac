"""The words of the system: record types and their codecs. This room knows no other."""
