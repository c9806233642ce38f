/* Between the parts of a guest's process 1; main.c says what it does. */
#pragma once

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_WORDS = 4096, MAX_SHARES = 16 };

/* What the plan says (plan.c). */
struct plan {
    char *argv[MAX_WORDS + 1];
    char *env[MAX_WORDS + 1];
    const char *cwd;
    const char *shares[MAX_SHARES];
    int n_shares;
    bool merged;
    int terminal; /* the serial line; -1: there is none */
};
extern struct plan plan;
extern bool in_qemu;

/* Ends the machine. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);
/* Whole small file, with a zero byte behind it; the memory is never given back. */
char *read_file(const char *path, size_t *size);

void make_folders(const char *path);
void enter_root(void);
void mount_all(void);
void mount_share(const char *source, const char *target, const char *cache);
void show_behind(const char *path);
void load_cuse(void);

void follow_plan(void);

int open_terminal(const char *rows_and_columns);
void follow_size(void);

int run_command(void);
