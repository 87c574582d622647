"""The client: a pure core (`conversation`, `operations`), and shells around it for threads and for event loops."""
