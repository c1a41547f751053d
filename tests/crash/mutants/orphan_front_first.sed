# A dead batch is aborted from its first slot on.
s/for (uint64_t q = end; q-- > first;)/for (uint64_t q = first; q < end; q++)/
