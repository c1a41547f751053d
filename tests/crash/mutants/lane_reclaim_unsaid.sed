# Readers are not told that bytes of the lane are used again.
/atom_store_before_writes(&p->line->reclaimed/d
