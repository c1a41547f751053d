# The epoch is not looked at again after the limit is shown.
s/if (atom_load_seq(&p->control->cursor_epoch) == epoch)/if (1)/
