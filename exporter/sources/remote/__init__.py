"""Sources that are not local folders: each file brings one kind here, into a folder, and says what it brought."""
