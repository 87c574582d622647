/* A disk for tests of power loss: a file in a folder of its own whose every write and flush goes to a log.
 *
 * usage: logdisk IMAGE LOG FOLDER
 *
 * FOLDER/disk begins with the bytes of IMAGE, which stays as it is: what is written lives in memory, and in LOG. A
 * record of LOG is an offset and a length (8 bytes each, of this machine's order) and so many bytes; a flush is a
 * record of length 0. Says "ready" when it is mounted. Needs root, and no end but SIGKILL; that comes by itself when
 * the process that started it is gone.
 */
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char *disk;
static off_t size;
static int log_fd;

/* Append a record; 0 or what the disk answers. */
static int note(uint64_t offset, const char *data, uint64_t length)
{
    uint64_t head[] = {offset, length};
    struct iovec parts[] = {{head, sizeof head}, {(void *)data, length}};

    if (writev(log_fd, parts, 2) == (ssize_t)(sizeof head + length))
        return 0;
    perror("logdisk: writing the log");
    return -EIO;
}

static void *on_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    (void)connection;
    config->direct_io = 1; /* no page cache between the loop device and the log */
    /* Without this the last file system on the disk could be unmounted by the end of this very process, which would
     * wait for itself to take the last writes. */
    if (unshare(CLONE_NEWNS) < 0) {
        perror("logdisk: leaving the mounts");
        _exit(1);
    }
    puts("ready");
    fflush(stdout);
    return NULL;
}

static int on_getattr(const char *path, struct stat *found, struct fuse_file_info *file)
{
    (void)file;
    memset(found, 0, sizeof *found);
    if (strcmp(path, "/") == 0) {
        found->st_mode = S_IFDIR | 0700;
        found->st_nlink = 2;
        return 0;
    }
    if (strcmp(path, "/disk") != 0)
        return -ENOENT;
    found->st_mode = S_IFREG | 0600;
    found->st_nlink = 1;
    found->st_size = size;
    return 0;
}

static int on_read(const char *path, char *data, size_t length, off_t offset, struct fuse_file_info *file)
{
    (void)path;
    (void)file;
    if (offset >= size)
        return 0;
    if (length > (size_t)(size - offset))
        length = size - offset;
    memcpy(data, disk + offset, length);
    return length;
}

static int on_write(const char *path, const char *data, size_t length, off_t offset, struct fuse_file_info *file)
{
    (void)path;
    (void)file;
    if (offset + (off_t)length > size)
        return -EFBIG;
    int error = length > 0 ? note(offset, data, length) : 0; /* length 0 would be a flush */
    if (error)
        return error;
    memcpy(disk + offset, data, length);
    return length;
}

static int on_fsync(const char *path, int data_only, struct fuse_file_info *file)
{
    (void)path;
    (void)data_only;
    (void)file;
    return note(0, NULL, 0);
}

static const struct fuse_operations operations = {
    .init = on_init,
    .getattr = on_getattr,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
};

int main(int count, char **words)
{
    if (count != 4) {
        fprintf(stderr, "usage: logdisk IMAGE LOG FOLDER\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct stat found;
    int image = open(words[1], O_RDONLY);
    if (image < 0 || fstat(image, &found) < 0) {
        perror(words[1]);
        return 1;
    }
    size = found.st_size;
    disk = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, image, 0);
    log_fd = open(words[2], O_WRONLY | O_CREAT | O_APPEND | O_TRUNC, 0600);
    if (disk == MAP_FAILED || log_fd < 0) {
        perror("logdisk: opening image and log");
        return 1;
    }
    /* One thread, so that the order of the log is the order of the disk. */
    char *options[] = {words[0], "-f", "-s", words[3], NULL};
    return fuse_main(4, options, &operations, NULL);
}
