"""What a node's answers establish of an approval or of a signed statement."""
