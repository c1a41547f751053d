/* fuzz_replay.c - the main of a fuzz target in builds without libFuzzer: feeds it each file that it is
 * given, and each file of each directory, so that every corpus is a regression test everywhere. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { INPUT_MAX = 1 << 20 };

static int
replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data;
    size_t len;

    if (!file) {
        perror(path);
        return -1;
    }
    /* Allocated anew for each, so that a sanitizer sees a read past the end. */
    data = malloc(INPUT_MAX);
    len = data ? fread(data, 1, INPUT_MAX, file) : 0;
    fclose(file);
    if (data)
        data = realloc(data, len ? len : 1);
    if (!data)
        return -1;
    LLVMFuzzerTestOneInput(data, len);
    free(data);
    return 1;
}

static int
replay(const char *path)
{
    struct dirent *entry;
    char inner[4096];
    int r, count = 0;
    DIR *dir = opendir(path);

    if (!dir)
        return replay_file(path);
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        r = replay_file(inner);
        if (r < 0) {
            closedir(dir);
            return r;
        }
        count += r;
    }
    closedir(dir);
    return count;
}

int
main(int argc, char **argv)
{
    int total = 0;

    for (int i = 1; i < argc; i++) {
        int r = replay(argv[i]);

        if (r < 0)
            return 1;
        total += r;
    }
    printf("%d inputs\n", total);
    return 0;
}
