"""Claims checked against nodes: a quorum of operators, reports, and evidence that is checked again offline."""
