"""Who may do what: keys, the gate, and browser sessions."""
