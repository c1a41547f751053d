# The intent is stored after the claim.
/release: INTENT \*\//d
s/TESTPOINT("ring.claimed");/atom_store_release(\&line->intent, ring_intent_pack(*ret_seq, n));/
