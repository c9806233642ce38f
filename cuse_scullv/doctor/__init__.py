"""What `cuse-scullv doctor` looks at: each finding with the commands that mend it."""
