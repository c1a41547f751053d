/* json_get [--lines] [PATH...]: reads JSON from standard input and prints the value at each path, one a line: a string or
 * number as it is, true, false, null; of an array or object its size. A path is keys and indices with dots between, '.' the
 * whole. With --lines every line is a document. Exit 1: it is not JSON; 2: there is no such path. */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const json_t *
step(const json_t *at, const char *key)
{
    if (json_is_array(at))
        return json_array_get(at, strtoul(key, NULL, 10));
    return json_object_get(at, key);
}

static const json_t *
find(const json_t *at, const char *path)
{
    char key[200];

    while (at && *path && strcmp(path, ".") != 0) {
        size_t len = strcspn(path, ".");
        (void)snprintf(key, sizeof key, "%.*s", (int)len, path);
        at = step(at, key);
        path += len + (path[len] == '.');
    }
    return at;
}

static int
print(const json_t *root, const char *path)
{
    const json_t *at = find(root, path);

    if (!at) {
        (void)fprintf(stderr, "json_get: there is no %s\n", path);
        return 2;
    }
    if (json_is_string(at))
        printf("%s\n", json_string_value(at));
    else if (json_is_integer(at))
        printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(at));
    else if (json_is_real(at))
        printf("%f\n", json_real_value(at));
    else if (json_is_array(at))
        printf("%zu\n", json_array_size(at));
    else if (json_is_object(at))
        printf("%zu\n", json_object_size(at));
    else
        printf("%s\n", json_is_null(at) ? "null" : json_is_true(at) ? "true" : "false");
    return 0;
}

static int
document(json_t *root, const json_error_t *error, char **paths, int n)
{
    int r = 0;

    if (!root) {
        (void)fprintf(stderr, "json_get: not JSON: %s (line %d)\n", error->text, error->line);
        return 1;
    }
    for (int i = 0; !r && i < n; i++)
        r = print(root, paths[i]);
    json_decref(root);
    return r;
}

int
main(int argc, char **argv)
{
    bool lines = argc > 1 && !strcmp(argv[1], "--lines");
    int from = lines ? 2 : 1, r = 0;
    json_error_t error;
    char *line = NULL;
    size_t room = 0;

    if (!lines)
        return document(json_loadf(stdin, JSON_REJECT_DUPLICATES, &error), &error, argv + from,
                        argc - from);
    while (!r && getline(&line, &room, stdin) > 0)
        r = document(json_loads(line, JSON_REJECT_DUPLICATES, &error), &error, argv + from,
                     argc - from);
    free(line);
    return r;
}
