"""The same echo server four times: what a client wrote last is what it reads. Each module is run
with one argument, a node's name or an empty folder to mount on."""
