"""Files on a local disk or an object store: written atomically, retried, cached on this machine."""
