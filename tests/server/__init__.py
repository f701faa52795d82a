"""The HTTP server, tested over real sockets."""
