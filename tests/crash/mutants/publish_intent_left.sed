# Who loses a claim leaves his intent standing.
/atom_store_release(&line->intent, 0);/d
