# Inner slots of a dead batch are left as they are.
s/ \&\& j != INNER)/)/
