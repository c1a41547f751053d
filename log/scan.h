/* scan.h - from bytes to batches and messages: checking, walking, telling a torn tail from damage.
 * Reads through a callback, so that files, memory and simulators are alike; never believes a
 * length it has not checked; every loop ends by the size of what it reads. No allocation: the
 * caller gives a buffer of LOG_BATCH_MAX bytes. */
#ifndef LOG_SCAN_H
#define LOG_SCAN_H

#include "log/encode.h"

/* Reads up to len bytes at off: the number read, 0 at the end, or a negative errno. */
struct log_source {
    int64_t (*read)(void *user, void *buf, uint32_t len, uint64_t off);
    void *user;
};

/* log_fd_source reads a file by pread (descriptor in *fd). */
struct log_source log_fd_source(const int *fd);

/* log_segment_check reads and checks a segment's header block: 0, -EBADMSG, -EPROTONOSUPPORT
 * (then, and only then, *ret's version and incompatible are what was found and the rest means
 * nothing), or the source's error. Whether name and place are the expected ones is the caller's to
 * see. */
int log_segment_check(const struct log_source *s, struct log_segment_header *ret);

/* log_batch_check checks one whole batch in memory against rules 1 to 5 (the pad need not be
 * there), and gives its header. A chain whose next is 0 stands for "any": rules 2 and 3 are not
 * asked then. `size` is how many bytes are there. 0; -ENODATA: no batch of this chain begins here
 * (zeros, another magic or topic, or old bytes: another first or previous); -EBADMSG: one begins
 * and is not valid. */
int log_batch_check(const void *buf, uint64_t size, const struct log_chain *chain,
                    struct log_batch *ret);

/* A walk over the batches of one segment. */
struct log_walk {
    struct log_source source;
    struct log_chain chain; /* expected of the next batch */
    uint64_t offset;        /* of the next batch */
    uint64_t size;          /* of the segment */
    bool recycled;          /* what stands behind the last batch may be old */
    unsigned char *buf;     /* LOG_BATCH_MAX bytes, the caller's */
    struct log_batch batch; /* the one read last; its bytes stand in buf */
    uint64_t batch_offset;
};

/* log_walk_begin stands before the first batch of a segment whose header has been checked.
 * log_walk_at then moves to an index entry's batch; a wrong entry makes the walk end there. */
void log_walk_begin(struct log_walk *w, const struct log_source *s,
                    const struct log_segment_header *h, void *buf);
void log_walk_at(struct log_walk *w, const struct log_index_entry *entry);

/* log_walk_next reads and checks the next batch into buf: 1; 0: none of this chain begins here
 * (the end, or not written yet, or old bytes, or one whose header is gone); -EBADMSG: one begins
 * and is not valid, which in a segment that is being written may also mean "not yet"; or the
 * source's error. The walk moves on only with 1, and may be asked again. */
int log_walk_next(struct log_walk *w);

/* What a failed or ended walk means. */
enum log_end {
    LOG_END_CLEAN = 0, /* zeros, or old bytes that do not belong to the chain */
    LOG_END_TORN = 1,  /* a batch that was being written when it all stopped: to be cut */
    LOG_END_DAMAGE = 2 /* something that had been durable is gone: a later batch says so */
};

/* log_walk_diagnose looks at what stands behind the walk's end, to the end of the segment, and
 * says which of the three. Call it whenever a walk ended that should have gone on, with 0 or
 * -EBADMSG.
 *
 * DAMAGE needs a witness: a batch of this topic at any 8-byte aligned offset, with its own hash
 * right, first >= the number the walk expects, and durable >= that number, which is below its own
 * first. Old batches of a recycled file have lower numbers, and those left of a torn flush knew
 * less to be durable. Else it is TORN if a batch of the chain begins at the end, or if there is
 * anything but zeros and the file is not a recycled one (by its header, or because a batch of
 * older numbers or of another topic is found). A torn write of which only the middle reached a
 * recycled file cannot be told from the old bytes, and is CLEAN.
 *
 * It reads every byte once and hashes only what looks like a witness, or like an old batch until
 * one is found. That work is bounded too, at a few times the segment's size, which only bytes made
 * to deceive can reach: a witness beyond is believed, so that nothing is cut. It uses the walk's
 * buffer. 0, or the source's error. */
struct log_diagnosis {
    enum log_end end;
    uint64_t offset;  /* where the walk ended */
    uint64_t bytes;   /* from there to the last byte that is not zero */
    uint64_t witness; /* offset of the first batch that proves damage; 0: none */
    uint64_t durable; /* what it says */
};
int log_walk_diagnose(const struct log_walk *w, struct log_diagnosis *ret);

/* log_segment_diagnose is for a file that has a segment's name and no sound header of its own: the
 * same from the first batch on. `named` needs topic_id, first by the file's name, and size of the
 * file; any size will do. Without DAMAGE it was never begun: a spare that got its name, and then
 * all stopped, and where it stands last it is no part of the log. buf has LOG_BATCH_MAX bytes. */
int log_segment_diagnose(const struct log_source *s, const struct log_segment_header *named,
                         void *buf, struct log_diagnosis *ret);

/* Records of a batch that log_batch_check has accepted. */
struct log_cursor_in_batch {
    const unsigned char *at, *end;
};
void log_records_begin(struct log_cursor_in_batch *c, const void *batch);
/* 1: *ret_header and *ret_payload are the next record's; 0: no more. */
int log_records_next(struct log_cursor_in_batch *c, struct log_record *ret_header,
                     const unsigned char **ret_payload);

#endif
