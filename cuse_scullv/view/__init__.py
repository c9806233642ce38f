"""The file view: devices as files of a mounted directory."""
