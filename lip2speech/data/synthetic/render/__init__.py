"""Drawing of talking faces."""
