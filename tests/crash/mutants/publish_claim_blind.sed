# The tail is stored, not compared and swapped.
s/atom_cas_acq_rel(p->tail, seq, seq + n)/(atom_store_release(p->tail, seq + n), true)/
