/* measure COMMAND [ARGUMENT...]: runs it once, its output thrown away, and prints "seconds peak_memory_in_KiB".
 *
 * A program of its own because Linux counts the memory of the process that starts a child towards the child's peak: this
 * one has next to none. */
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "peer.h"

extern char **environ;

int main(int argc, char **argv)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status;
	struct rusage used;

	peer_need(argc > 1, "usage: measure COMMAND [ARGUMENT...]");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	double start = peer_now();
	int rc = posix_spawnp(&pid, argv[1], &actions, NULL, argv + 1, environ);
	peer_need(rc == 0, strerror(rc));
	peer_need(wait4(pid, &status, 0, &used) == pid, "wait4 failed");
	double seconds = peer_now() - start;
	posix_spawn_file_actions_destroy(&actions);
	peer_need(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the command failed");
	printf("%.9f %ld\n", seconds, used.ru_maxrss);
	return 0;
}
