"""A page on this machine to try looks on: `vera serve`. Needs the extra `serve`."""
