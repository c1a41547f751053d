# A cursor seeks without a hand-shake.
s/\*pos = shake(v, line, \*pos, held);/(void)held;/
