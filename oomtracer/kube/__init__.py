"""The API server: the only package that talks to it, loaded only where there is a cluster."""
