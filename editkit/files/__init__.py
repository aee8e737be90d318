"""Bytes on disk: safetensors, model folders, the hub, new files, the cache. numpy; torch in `bits` and `conversion`."""
