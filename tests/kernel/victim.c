/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes for the OOM killer: small, quick to start, and odd in one way each.
 *
 *   victim PROCS grow BYTES [NAME]      enter the cgroup, take the name, touch BYTES, end with 0
 *   victim PROCS hold BYTES [SCORE]     touch BYTES, print a line, wait; with an oom_score_adj of SCORE (1000)
 *   victim PROCS thread BYTES           the same as grow, by a second thread after the first has ended
 *   victim PROCS share BYTES            the same as grow, with a second process in the same memory
 *   victim PROCS shared BYTES           the same as share, but the second process grows, and the first waits
 *   victim PROCS init BYTES             the same as grow, by process 1 of a new pid namespace
 *   victim PROCS user BYTES UID         the same as grow, as another user, with an oom_score_adj of 321
 *   victim PROCS remote BYTES OTHER     a process of OTHER writes the BYTES into a process of PROCS
 *   victim PROCS bind BYTES NODE        the same as grow, with memory of one node alone
 *   victim PROCS dying BYTES            kills a child of this size, does not let it run, and grows beside it
 *   victim PROCS storm BYTES COUNT      COUNT times: a child enters the cgroup and grows; one at a time
 *
 * PROCS is the cgroup.procs file to enter. NAME may hold any bytes, as \xNN.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t bytes;
static char child_stack[64 << 10];

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err(1, "%s", path);
	close(fd);
}

static void touch_memory(void)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE; /* more than the machine has is given, too */
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (memory == MAP_FAILED)
		err(1, "mmap");
	madvise(memory, bytes, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < bytes; i += 4096)
		memory[i] = 1;
}

/* set_mempolicy(2), which the C library does not have; 2 is MPOL_BIND. */
static void bind_memory(int node)
{
	unsigned long nodes = 1UL << node;

	if (syscall(SYS_set_mempolicy, 2, &nodes, 8 * sizeof(nodes)) != 0)
		err(1, "set_mempolicy");
}

static void *touch_in_thread(void *unused)
{
	touch_memory();
	exit(0);
	return unused;
}

static int wait_forever(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return 0;
}

static int touch_as_child(void *unused)
{
	(void)unused;
	touch_memory();
	return 0;
}

static int wait_for_children(void)
{
	int status, killed = 0;

	while (wait(&status) > 0)
		killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	return killed;
}

static void set_name(const char *escaped)
{
	char name[64] = "";
	size_t length = 0;
	unsigned int byte;

	for (; *escaped && length < sizeof(name) - 1; length++) {
		if (sscanf(escaped, "\\x%2x", &byte) == 1) {
			name[length] = byte;
			escaped += 4;
		} else {
			name[length] = *escaped++;
		}
	}
	prctl(PR_SET_NAME, name);
}

/* Charged to the process whose memory it is, asked for by the one that writes. */
static int write_into_another(const char *procs, const char *other)
{
	char source[4096] = "";
	struct iovec here = {source, sizeof(source)}, there = {NULL, sizeof(source)};
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ready[2];
	pid_t child;

	if (memory == MAP_FAILED || pipe(ready) != 0)
		err(1, "mmap, pipe");
	child = fork();
	if (child == 0) {
		write_file(procs, "0");
		write_file("/proc/self/oom_score_adj", "1000");
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		wait_forever(NULL);
	}
	if (read(ready[0], source, 1) != 1)
		errx(1, "the other process did not start");
	write_file(other, "0");
	for (size_t i = 0; i < bytes; i += sizeof(source)) {
		there.iov_base = memory + i;
		if (process_vm_writev(child, &here, 1, &there, 1, 0) < 0)
			break;
	}
	kill(child, SIGTERM);
	printf("%d\n", child);
	return wait_for_children() == 1 ? 0 : 1;
}

/*
 * The child has its SIGKILL and is exiting, but gets no processor to do it on: both are bound to one, and the
 * parent is in the real-time class. The kernel chooses the child, and finds that it need not kill it again.
 */
static void grow_beside_the_dying(void)
{
	struct sched_param first = {.sched_priority = 1};
	cpu_set_t one;
	int ready[2];
	pid_t child;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_setaffinity(0, sizeof(one), &one) != 0 || pipe(ready) != 0)
		err(1, "sched_setaffinity, pipe");
	child = fork();
	if (child == 0) {
		write_file("/proc/self/oom_score_adj", "1000");
		touch_memory();
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		wait_forever(NULL);
	}
	if (read(ready[0], &one, 1) != 1)
		errx(1, "the child did not start");
	if (sched_setscheduler(0, SCHED_FIFO, &first) != 0)
		err(1, "sched_setscheduler");
	kill(child, SIGKILL);
	touch_memory();
	sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){0});
	printf("%d\n", child);
}

static void storm(const char *procs, int count)
{
	for (int i = 0; i < count; i++) {
		if (fork() == 0) {
			write_file(procs, "0");
			touch_memory();
			_exit(0);
		}
		if (wait_for_children() != 1)
			errx(1, "kill %d did not happen", i);
	}
}

int main(int argc, char **argv)
{
	const char *procs = argv[1], *mode = argv[2];
	pthread_t thread;

	if (argc < 4)
		errx(2, "usage: victim PROCS MODE BYTES [ARGUMENT]");
	bytes = strtoull(argv[3], NULL, 0);
	if (strcmp(mode, "storm") == 0) {
		storm(procs, atoi(argv[4]));
		return 0;
	}
	if (strcmp(mode, "remote") == 0)
		return write_into_another(procs, argv[4]);
	write_file(procs, "0");
	if (argc > 4 && strcmp(mode, "grow") == 0)
		set_name(argv[4]);
	if (strcmp(mode, "hold") == 0) {
		write_file("/proc/self/oom_score_adj", argc > 4 ? argv[4] : "1000");
		touch_memory();
		puts("holding");
		fflush(stdout);
		wait_forever(NULL);
	} else if (strcmp(mode, "thread") == 0) {
		pthread_create(&thread, NULL, touch_in_thread, NULL);
		pthread_exit(NULL);
	} else if (strcmp(mode, "bind") == 0) {
		bind_memory(atoi(argv[4]));
		touch_memory();
	} else if (strcmp(mode, "dying") == 0) {
		grow_beside_the_dying();
	} else if (strcmp(mode, "share") == 0) {
		clone(wait_forever, child_stack + sizeof(child_stack), CLONE_VM | SIGCHLD, NULL);
		touch_memory();
	} else if (strcmp(mode, "shared") == 0) {
		clone(touch_as_child, child_stack + sizeof(child_stack), CLONE_VM | SIGCHLD, NULL);
		wait_forever(NULL);
	} else if (strcmp(mode, "init") == 0) {
		if (clone(touch_as_child, child_stack + sizeof(child_stack), CLONE_NEWPID | SIGCHLD, NULL) < 0)
			err(1, "clone");
		return wait_for_children() == 1 ? 0 : 1;
	} else if (strcmp(mode, "user") == 0) {
		write_file("/proc/self/oom_score_adj", "321");
		if (setuid(atoi(argv[4])) != 0)
			err(1, "setuid");
		touch_memory();
	} else {
		touch_memory();
	}
	return 0;
}
