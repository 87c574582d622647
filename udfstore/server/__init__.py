"""The trio shell: listeners, connections, drain, configuration, and the clock of the housekeeping."""
