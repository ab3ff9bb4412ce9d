"""DDL through the proxy, on a real server."""
