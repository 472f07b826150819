//! seccomp: which system calls the process can still make.
//!
//! The list has what the daemon does while it serves, reloads and stops, by subject. Everything else fails with `EPERM`,
//! as if the user had no right to it. memcached ends the process instead. An error is the better answer here: a call that
//! is missing from the list (another C library, a kernel that routes a call elsewhere) then costs one operation its
//! success, not all clients their cache, and who has broken in gets nowhere either way. The one exception is `clone3`,
//! whose flags lie in memory where a filter cannot look: it is said not to exist, and the C library falls back to `clone`,
//! which makes threads and nothing else.
//!
//! Some calls are bound to arguments: memory is never mapped or made executable, files are opened for reading only unless
//! the server said that it writes some, signals go to this process alone, limits can be read but not set.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

/// Takes all system calls but those of the list from every thread of the process. `may_write` leaves those that make and
/// change files. The error says why the kernel does not filter; nothing is changed then.
pub fn filter(may_write: bool) -> Result<(), String> {
    let programs = programs(may_write).map_err(|error| error.to_string())?;
    for program in &programs {
        apply_filter_all_threads(program).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Two filters, of which the kernel obeys the stricter: each can answer a refused call in one way only.
fn programs(may_write: bool) -> Result<[BpfProgram; 2], BackendError> {
    let architecture: TargetArch = std::env::consts::ARCH.try_into()?;
    let absent = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let absent = SeccompFilter::new(absent, SeccompAction::Allow, errno(libc::ENOSYS), architecture)?;
    let allowed = SeccompFilter::new(rules(may_write)?, errno(libc::EPERM), SeccompAction::Allow, architecture)?;
    Ok([absent.try_into()?, allowed.try_into()?])
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules(may_write: bool) -> Result<Rules, BackendError> {
    let mut rules: Rules = FREE.iter().map(|number| (*number, Vec::new())).collect();
    if may_write {
        rules.extend(WRITING.iter().map(|number| (*number, Vec::new())));
    }
    let own_process = u64::from(std::process::id());
    let executable = libc::PROT_EXEC as u64;
    let opening = if may_write { 0 } else { (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u64 };
    let mut bind = |number: c_long, alternatives: Vec<SeccompRule>| rules.insert(number, alternatives);
    bind(libc::SYS_mmap, vec![when(2, SeccompCmpOp::MaskedEq(executable), 0)?]);
    bind(libc::SYS_mprotect, vec![when(2, SeccompCmpOp::MaskedEq(executable), 0)?]);
    bind(libc::SYS_openat, vec![when(2, SeccompCmpOp::MaskedEq(opening), 0)?]);
    bind(libc::SYS_tgkill, vec![when(0, SeccompCmpOp::Eq, own_process)?]);
    bind(libc::SYS_prlimit64, vec![when(2, SeccompCmpOp::Eq, 0)?]);
    let thread = libc::CLONE_THREAD as u64;
    bind(libc::SYS_clone, vec![when(0, SeccompCmpOp::MaskedEq(thread), thread)?]);
    let names = [libc::PR_SET_NAME, libc::PR_GET_NAME, PR_SET_VMA, PR_GET_AUXV];
    bind(libc::SYS_prctl, names.iter().map(|name| when(0, SeccompCmpOp::Eq, *name as u64)).collect::<Result<_, _>>()?);
    let controls = [libc::FIONBIO, libc::FIOCLEX, libc::FIONREAD, libc::TCGETS, libc::TIOCGWINSZ];
    let controls = controls.iter().map(|control| when(1, SeccompCmpOp::Eq, *control));
    bind(libc::SYS_ioctl, controls.collect::<Result<_, _>>()?);
    Ok(rules)
}

/// The one condition that argument `index`, of which 32 bits count unless it is an address, compares so with `value`.
fn when(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    let length = SeccompCmpArgLen::Qword;
    SeccompRule::new(vec![SeccompCondition::new(index, length, operator, value)?])
}

/// `PR_SET_VMA`, with which C libraries name their memory.
const PR_SET_VMA: i32 = 0x5356_4d41;
/// `PR_GET_AUXV`, by which rustix finds the kernel's clock.
const PR_GET_AUXV: i32 = 0x4155_5856;

/// Calls that are allowed whatever their arguments.
#[rustfmt::skip]
const FREE: &[c_long] = &[
    // Sockets that are there, and those they accept.
    libc::SYS_accept4, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_shutdown,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt,
    // Whatever is open.
    libc::SYS_read, libc::SYS_readv, libc::SYS_pread64, libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64,
    libc::SYS_lseek, libc::SYS_close, libc::SYS_dup, libc::SYS_dup3, libc::SYS_fcntl, libc::SYS_ftruncate,
    libc::SYS_fallocate, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_fstatfs,
    // Waiting and waking.
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_ppoll,
    libc::SYS_eventfd2, libc::SYS_pipe2, libc::SYS_futex, libc::SYS_nanosleep, libc::SYS_clock_nanosleep,
    libc::SYS_sched_yield, libc::SYS_restart_syscall,
    // Memory, named shared memory for a restart too.
    libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_brk, libc::SYS_msync, libc::SYS_mlock,
    libc::SYS_munlock, libc::SYS_memfd_create, libc::SYS_membarrier,
    // Threads and their end.
    libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_sched_getaffinity, libc::SYS_getcpu, libc::SYS_gettid,
    libc::SYS_exit, libc::SYS_exit_group, libc::SYS_clone3,
    // Signals.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack,
    // Facts, time and chance.
    libc::SYS_getpid, libc::SYS_getppid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid,
    libc::SYS_getrusage, libc::SYS_sysinfo, libc::SYS_uname, libc::SYS_clock_gettime, libc::SYS_clock_getres,
    libc::SYS_gettimeofday, libc::SYS_getrandom, libc::SYS_getcwd,
    // Files by name: Landlock says which.
    libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_readlinkat, libc::SYS_faccessat,
    libc::SYS_unlinkat,
    // The older forms, which other processors do not have.
    #[cfg(target_arch = "x86_64")] libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")] libc::SYS_poll,
    #[cfg(target_arch = "x86_64")] libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")] libc::SYS_time,
    #[cfg(target_arch = "x86_64")] libc::SYS_stat,
    #[cfg(target_arch = "x86_64")] libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")] libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")] libc::SYS_access,
    #[cfg(target_arch = "x86_64")] libc::SYS_unlink,
];

/// Calls for a process that makes files.
#[rustfmt::skip]
const WRITING: &[c_long] = &[
    libc::SYS_renameat2, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_umask, libc::SYS_getdents64,
    libc::SYS_sync_file_range,
    #[cfg(target_arch = "x86_64")] libc::SYS_rename,
    #[cfg(target_arch = "x86_64")] libc::SYS_renameat,
    #[cfg(target_arch = "x86_64")] libc::SYS_chmod,
];
