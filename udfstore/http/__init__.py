"""The HTTP API and the web page: a front of the service, in the server's own process."""
