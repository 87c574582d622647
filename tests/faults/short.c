/* Reads and writes that do less than they were asked, or are interrupted by a signal: loaded before libc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/types.h>

static _Thread_local unsigned calls;

/* Every fifth call is interrupted, of the others every second comes half as far as it could. */
#define FALTERING(name, call)                                 \
	static ssize_t (*real)();                             \
	if (!real) real = (ssize_t (*)())dlsym(RTLD_NEXT, name); \
	if (++calls % 5 == 0) {                               \
		errno = EINTR;                                \
		return -1;                                    \
	}                                                     \
	if (calls % 2 && size > 1) size /= 2;                 \
	return call

ssize_t write(int fd, const void *data, size_t size) { FALTERING("write", real(fd, data, size)); }
ssize_t read(int fd, void *data, size_t size) { FALTERING("read", real(fd, data, size)); }

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) { FALTERING("pwrite64", real(fd, data, size, at)); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { FALTERING("pwrite64", real(fd, data, size, at)); }
ssize_t pread64(int fd, void *data, size_t size, off_t at) { FALTERING("pread64", real(fd, data, size, at)); }
ssize_t pread(int fd, void *data, size_t size, off_t at) { FALTERING("pread64", real(fd, data, size, at)); }
