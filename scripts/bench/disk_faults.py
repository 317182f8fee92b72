"""A disk that fails on purpose: a small library, loaded before all others, whose writing calls end with an error.

It is loaded into a process by LD_PRELOAD, so ``load_faults`` starts the running script again under it. Then ``fail_at``
lets every writing call below a folder fail from the nth one on, as on a disk that is full (ENOSPC) or broken (EIO).
Calls are counted in each process by itself. Linux with gcc only.
"""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from core.errors import UserError

LOADED = "DISK_FAULTS"
NEVER = -1
SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static long first = -1, calls = 0;
static int number = 0;

void fail_at(const char *below, long call, int error) {
    strncpy(folder, below, sizeof folder - 1);
    first = call; number = error; calls = 0;
}
long count_calls(void) { return calls; }

static int fails_at(const char *path) {
    if (!folder[0] || strncmp(path, folder, strlen(folder))) return 0;
    long call = __sync_fetch_and_add(&calls, 1);
    if (first < 0 || call < first) return 0;
    errno = number;
    return 1;
}
static int fails_on(int fd) {
    char link[64], path[4096];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return fails_at(path);
}
#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)
ssize_t write(int fd, const void *from, size_t size) { REAL(write); return fails_on(fd) ? -1 : real(fd, from, size); }
ssize_t writev(int fd, const struct iovec *from, int n) { REAL(writev); return fails_on(fd) ? -1 : real(fd, from, n); }
ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at) {
    REAL(pwrite64); return fails_on(fd) ? -1 : real(fd, from, size, at);
}
ssize_t pwrite(int fd, const void *from, size_t size, off_t at) { return pwrite64(fd, from, size, at); }
size_t fwrite(const void *from, size_t size, size_t n, FILE *to) {
    REAL(fwrite); return fails_on(fileno(to)) ? 0 : real(from, size, n, to);
}
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); return fails_on(fd) ? -1 : real(fd, size); }
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
int fsync(int fd) { REAL(fsync); return fails_on(fd) ? -1 : real(fd); }
int rename(const char *from, const char *to) { REAL(rename); return fails_at(to) ? -1 : real(from, to); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); return fails_at(path) ? -1 : real(path, mode); }
int open64(const char *path, int flags, ...) {
    REAL(open64);
    va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more);
    return (flags & O_CREAT) && fails_at(path) ? -1 : real(path, flags, mode);
}
int open(const char *path, int flags, ...) {
    va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more);
    return open64(path, flags, mode);
}
"""


def load_faults(folder: Path) -> None:
    """Build the library in ``folder`` and start this script again under it, once."""
    if os.environ.get(LOADED):
        return
    source, library = folder / "disk_faults.c", folder / "disk_faults.so"
    source.write_text(SOURCE)
    try:
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError("expected gcc, to build a disk that fails, found none that works; install gcc") from error
    os.environ |= {LOADED: str(library), "LD_PRELOAD": str(library)}
    os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 (the same script)


def is_loaded() -> bool:
    return LOADED in os.environ


def fail_at(folder: Path, call: int, error: int) -> None:
    """Let writing calls below ``folder`` fail with ``error`` (an errno) from the one with number ``call``, 0 first;
    NEVER: count them only."""
    ctypes.CDLL(None).fail_at(f"{folder}/".encode(), ctypes.c_long(call), error)


def count_calls() -> int:
    """Writing calls of this process since ``fail_at``."""
    library = ctypes.CDLL(None)
    library.count_calls.restype = ctypes.c_long
    return library.count_calls()
