"""What any server is made of: a keeper, which holds and waits; a worker, which serves."""
