# A batch is stamped from its first slot to its last.
s/for (uint32_t i = n; i-- > 0;)/for (uint32_t i = 0; i < n; i++)/
