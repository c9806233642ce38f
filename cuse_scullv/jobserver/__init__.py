"""A jobserver: tokens for the jobs of make, ninja, cargo and their like, as a character device.

docs/jobserver.md says what it promises. `Jobserver` is the device, `Control` the client's side of
`cuse-scullv get`, `set` and `info`."""
