/* scan.h - from bytes to batches and messages: checking, walking, telling a torn tail from damage.
 * Reads through a callback, so that files, memory and simulators are alike; never believes a length
 * it has not checked; every loop ends by the size of what it reads. No allocation: the caller gives a buffer of
 * LOG_BATCH_MAX bytes. */
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

/* log_segment_check reads and checks a segment's header: 0, -EBADMSG, -EPROTONOSUPPORT. */
int log_segment_check(const struct log_source *s, struct log_segment_header *ret);

/* log_batch_check checks one whole batch in memory against rules 1, 2 (when chain->next is not 0), 3, 4 and 5, and gives its
 * header. 0; -ENODATA: no batch begins here (zeros, another magic); -EBADMSG: one begins and is not valid.
 * `size` is how many bytes are there. */
int log_batch_check(const void *buf, uint64_t size, const struct log_chain *chain,
                    struct log_batch *ret);

/* A walk over the batches of one segment. */
struct log_walk {
    struct log_source source;
    struct log_chain chain; /* expected of the next batch */
    uint64_t offset;        /* of the next batch */
    uint64_t size;          /* of the segment */
    unsigned char *buf;     /* LOG_BATCH_MAX bytes, the caller's */
    struct log_batch batch; /* the one read last; its bytes stand in buf */
    uint64_t batch_offset;
};

/* log_walk_begin stands before the first batch. log_walk_at begins in the middle, from an index entry. */
void log_walk_begin(struct log_walk *w, const struct log_source *s,
                    const struct log_segment_header *h, void *buf);
void log_walk_at(struct log_walk *w, const struct log_index_entry *entry);

/* log_walk_next reads and checks the next batch into buf: 1; 0: none begins here (the end, or not written yet);
 * -EBADMSG: one begins and is not valid; or the source's error. The walk moves on only with 1. */
int log_walk_next(struct log_walk *w);

/* What a failed or ended walk means. */
enum log_end {
    LOG_END_CLEAN = 0, /* zeros, or old bytes that do not belong to the chain */
    LOG_END_TORN = 1,  /* a batch that was being written when it all stopped: to be cut */
    LOG_END_DAMAGE = 2 /* something that had been durable is gone: a later batch says so */
};

/* log_walk_diagnose looks at what stands behind the walk's end, to the end of the segment: which of the three, where the
 * first later batch that proves damage begins and what it says was durable. It reads every byte once. */
struct log_diagnosis {
    enum log_end end;
    uint64_t offset;  /* where the walk ended */
    uint64_t bytes;   /* bytes from there that are not zero, up to the last one that is not */
    uint64_t witness; /* offset of the batch that proves damage */
    uint64_t durable; /* what it says */
};
int log_walk_diagnose(const struct log_walk *w, struct log_diagnosis *ret);

/* Records of a batch that log_batch_check has accepted. */
struct log_cursor_in_batch {
    const unsigned char *at, *end;
};
void log_records_begin(struct log_cursor_in_batch *c, const void *batch);
/* 1: *ret_header and *ret_payload are the next record's; 0: no more. */
int log_records_next(struct log_cursor_in_batch *c, struct log_record *ret_header,
                     const unsigned char **ret_payload);

#endif
