/* Preloaded into programs: shares that cannot do what ODD_LACKS names, and answer ODD_ERRNO. The kernel refuses it to the
   process and to all that it starts, however they ask. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static int lacks(const char *what) {
  const char *all = getenv("ODD_LACKS");
  return all && strstr(all, what);
}

static int odd_errno(int usual) {
  const char *text = getenv("ODD_ERRNO");
  return text ? atoi(text) : usual;
}

static const struct { const char *what; int call; } CALLS[] = {
    {"chmod", SYS_fchmod}, {"chmod", SYS_fchmodat}, {"chmod", 452 /* fchmodat2 */}, {"link", SYS_linkat},
    {"fsync", SYS_fsync}, {"fsync", SYS_fdatasync}, {"flock", SYS_flock}, {"utimes", SYS_utimensat},
    {"rename", SYS_renameat2},
#ifdef SYS_renameat
    {"rename", SYS_renameat},
#endif
#ifdef SYS_chmod
    {"chmod", SYS_chmod}, {"link", SYS_link}, {"utimes", SYS_utime}, {"utimes", SYS_utimes}, {"utimes", SYS_futimesat},
    {"rename", SYS_rename},
#endif
};

__attribute__((constructor)) static void refuse(void) {
  struct sock_filter code[64];
  unsigned short n = 0;
  unsigned refusal = SECCOMP_RET_ERRNO | (odd_errno(EPERM) & SECCOMP_RET_DATA);
  code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++)
    if (lacks(CALLS[i].what)) {
      code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CALLS[i].call, 0, 1);
      code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, refusal);
    }
  if (lacks("noreplace")) {
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 0, 3);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[4]));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL);
  }
  code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {n, code};
  if (n > 2 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))) {
    perror("odd share");
    _Exit(99);
  }
}
