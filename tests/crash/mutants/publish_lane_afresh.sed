# Who inherits a lane forgets what its former owner has in it.
/p->piece_next = 1;/d
