"""Files on a local disk or an object store: written whole, retried, cached on this machine."""
