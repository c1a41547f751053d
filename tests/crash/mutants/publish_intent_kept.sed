# The intent is not cleared after the last stamp.
/atom_store_release(&p->line->intent, 0);/d
