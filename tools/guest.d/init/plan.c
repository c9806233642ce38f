/* The plan, record by record. */
#include "init.h"

struct plan plan = {.cwd = "/", .terminal = -1};

void follow_plan(void)
{
    size_t size;
    char *text = read_file("/run/guest/plan", &size);
    int words = 0, variables = 0;
    for (char *record = text; record < text + size; record += strlen(record) + 1) {
        char *value = strchr(record, ' ');
        if (!value)
            die("the record '%s' of the plan", record);
        *value++ = '\0';
        const char *verb = record;
        record = value;
        if (!strcmp(verb, "behind")) {
            show_behind(value);
        } else if (!strcmp(verb, "share") && plan.n_shares < MAX_SHARES) {
            record += strlen(record) + 1;
            make_folders(record);
            mount_share(value, record, "mmap");
            plan.shares[plan.n_shares++] = record;
        } else if (!strcmp(verb, "cwd")) {
            plan.cwd = value;
        } else if (!strcmp(verb, "merge")) {
            plan.merged = true;
        } else if (!strcmp(verb, "terminal")) {
            plan.terminal = open_terminal(value);
        } else if (!strcmp(verb, "env") && variables < MAX_WORDS) {
            plan.env[variables++] = value;
        } else if (!strcmp(verb, "arg") && words < MAX_WORDS) {
            plan.argv[words++] = value;
        } else {
            die("the verb '%s' of the plan", verb);
        }
    }
    if (!words)
        die("a plan without a command");
}
