"""What each source of evidence contributes to a baseline and to the pooled effect."""
