# Reads stripped C (file:line:text) and reports banned words with their replacement.
function ban(words, why, scope,    n, list, i) {
    n = split(words, list, " ")
    for (i = 1; i <= n; i++) {
        reason[list[i]] = why
        where[list[i]] = scope
    }
}
BEGIN {
    everywhere = "."
    library = "^(shm|ring|log|wire|client)/"
    ban("__sync __atomic _Atomic stdatomic.h atomic_thread_fence", "use shm/atomic.h", everywhere)
    ban("volatile", "use shm/atomic.h", everywhere)
    ban("strcpy strcat strncpy sprintf vsprintf", "use snprintf or memcpy with a checked length", everywhere)
    ban("gets", "use getline", everywhere)
    ban("atoi atol atoll", "use strtol and check all of it", everywhere)
    ban("strtok", "use strtok_r or strcspn", everywhere)
    ban("alloca", "use a bounded array", everywhere)
    ban("printf fprintf vprintf vfprintf dprintf puts fputs putchar perror stdout stderr syslog",
        "libraries never print", library)
    ban("abort exit quick_exit err errx warn warnx", "libraries never end the process", library)
    ban("assert", "a bad value is -EBADMSG; of constants use _Static_assert", library)
    ban("sleep usleep nanosleep clock_nanosleep", "wait for a condition, not for time", "^tests/")
    ban("sched_yield", "use pause_briefly: who yields in a loop starves others", "^tests/")
    ban("rand srand random srandom", "take numbers from a seed that is printed", "^tests/")
    for (word in reason)
        called[word] = word !~ /^(__sync|__atomic|_Atomic|stdatomic\.h|volatile|stdout|stderr)$/
}
{
    c1 = index($0, ":")
    file = substr($0, 1, c1 - 1)
    rest = substr($0, c1 + 1)
    c2 = index(rest, ":")
    line = substr(rest, 1, c2 - 1)
    text = substr(rest, c2 + 1)
    if (file == "shm/atomic.h")
        next
    gsub(/volatile sig_atomic_t|__asm__ volatile/, "", text)
    gsub(/__sync_/, "__sync ", text)
    gsub(/__atomic_/, "__atomic ", text)
    # The word is taken whole; a function only where it is called or named as one, not as a member.
    while (match(text, /[A-Za-z_][A-Za-z0-9_]*(\.h)?/)) {
        word = substr(text, RSTART, RLENGTH)
        prior = RSTART > 1 ? substr(text, RSTART - 1, 1) : ""
        text = substr(text, RSTART + RLENGTH)
        if (!(word in reason) || file !~ where[word])
            continue
        if (called[word] && (text !~ /^[ \t]*\(/ || prior == "." || prior == ">"))
            continue
        print file ":" line ": " word ": " reason[word]
    }
}
