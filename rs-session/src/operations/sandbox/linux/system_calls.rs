//! The kernel's entrances that no operation needs, shut by seccomp.
//!
//! What is shut answers "not permitted", so that an operation goes on and says what it could not do. System calls that
//! are newer than this program, and `clone3` and `openat2`, whose flags a filter cannot see, answer "not implemented".

use std::collections::BTreeMap;

use libc::{c_long, *};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use crate::operations::catalog::{Needs, Network};

/// What no operation needs.
const NEVER: &[c_long] = &[
    // other processes
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_process_madvise,
    SYS_process_mrelease,
    SYS_kcmp,
    SYS_pidfd_getfd,
    SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo,
    SYS_pidfd_send_signal,
    SYS_migrate_pages,
    SYS_move_pages,
    // views of the system
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_move_mount,
    SYS_open_tree,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_setns,
    SYS_unshare,
    SYS_swapon,
    SYS_swapoff,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_acct,
    // the kernel itself
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_reboot,
    SYS_syslog,
    SYS_personality,
    SYS_vhangup,
    SYS_fanotify_init,
    SYS_nfsservctl,
    // keys
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    // clocks and names
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_adjtimex,
    SYS_clock_adjtime,
    SYS_sethostname,
    SYS_setdomainname,
    // files by handle, without a path, or of a kind of their own
    SYS_open_by_handle_at,
    SYS_name_to_handle_at,
    SYS_memfd_create,
    SYS_memfd_secret,
    SYS_execveat,
    SYS_mknodat,
    // what Landlock does not rule on, or not before its third version
    SYS_truncate,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchmodat2,
    SYS_fchown,
    SYS_fchownat,
    SYS_utimensat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_fremovexattr,
    // rights
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setfsuid,
    SYS_setfsgid,
    SYS_setgroups,
    SYS_capset,
    // objects that others share
    SYS_shmget,
    SYS_shmat,
    SYS_shmctl,
    SYS_semget,
    SYS_semctl,
    SYS_semop,
    SYS_msgget,
    SYS_msgsnd,
    SYS_msgrcv,
    SYS_msgctl,
    SYS_mq_open,
    SYS_mq_unlink,
    // being connected to
    SYS_listen,
    SYS_accept,
    SYS_accept4,
];

/// Old forms that newer machines do not have.
#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[c_long] = &[
    SYS_creat,
    SYS_iopl,
    SYS_ioperm,
    SYS_modify_ldt,
    SYS_mknod,
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
    SYS_utime,
    SYS_utimes,
    SYS_futimesat,
    SYS_uselib,
    SYS_ustat,
    SYS_sysfs,
    SYS_lookup_dcookie,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[c_long] = &[];

/// What only those who start programs need.
const PROGRAMS: &[c_long] =
    &[SYS_execve, SYS_clone, SYS_kill, SYS_tkill, SYS_socketpair, SYS_setsid, SYS_setpgid];
#[cfg(target_arch = "x86_64")]
const PROGRAMS_HERE: &[c_long] = &[SYS_fork, SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const PROGRAMS_HERE: &[c_long] = &[];

/// The newest system call that was looked at; those after it are not there.
const LOOKED_AT: c_long = 462;
/// So many after it are named, as a filter cannot say "and all others".
const UNSEEN: c_long = 49;
/// Bit in the numbers of a second form of every system call on x86-64.
#[cfg(target_arch = "x86_64")]
const SECOND_FORM: Option<c_long> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const SECOND_FORM: Option<c_long> = None;

/// What may be asked of an open file; changing a terminal's input or a file's attributes is not among it.
const QUESTIONS: [Ioctl; 6] = [TCGETS, TIOCGWINSZ, FIONREAD, FIOCLEX, FIONCLEX, FIONBIO];
/// The number of a question, which is a signed one in musl.
#[cfg_attr(target_env = "gnu", expect(clippy::unnecessary_cast, reason = "it is one of musl's"))]
const fn question(number: Ioctl) -> u64 {
    number as u64
}

/// What opens files, and which argument says how.
#[cfg(target_arch = "x86_64")]
const OPENS: &[(c_long, u8)] = &[(SYS_openat, 2), (SYS_open, 1)];
#[cfg(not(target_arch = "x86_64"))]
const OPENS: &[(c_long, u8)] = &[(SYS_openat, 2)];
/// A file that is opened so is empty.
const EMPTIED: u64 = O_TRUNC.unsigned_abs() as u64;
const FAST_OPEN: u64 = 0x2000_0000;
const MULTIPATH_TCP: u64 = 262;
/// What makes the kernel keep a signal for the death of the parent, and who takes in orphans.
const FATES: [c_int; 2] = [PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

pub(super) fn restrict(needs: &Needs) -> Result<String, String> {
    let missing = filter(not_there(), ENOSYS)?;
    let shut = filter(not_permitted(needs)?, EPERM)?;
    for program in [missing, shut] {
        seccompiler::apply_filter(&program).map_err(|error| error.to_string())?;
    }
    Ok(String::new())
}

fn filter(mut rules: Rules, answer: c_int) -> Result<BpfProgram, String> {
    if let Some(bit) = SECOND_FORM {
        let again: Vec<_> = rules.iter().map(|(number, rules)| (number | bit, rules.clone())).collect();
        rules.extend(again);
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(text)?;
    let shut = SeccompAction::Errno(answer.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, shut, arch).map_err(text)?;
    BpfProgram::try_from(filter).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// An empty list of rules means: whatever the arguments are.
fn not_there() -> Rules {
    let unseen = LOOKED_AT + 1..=LOOKED_AT + UNSEEN;
    unseen.chain([SYS_clone3, SYS_openat2]).map(|number| (number, Vec::new())).collect()
}

fn not_permitted(needs: &Needs) -> Result<Rules, String> {
    let mut rules: Rules = NEVER.iter().chain(NEVER_HERE).map(|number| (*number, Vec::new())).collect();
    if needs.programs.is_empty() {
        rules.extend(PROGRAMS.iter().chain(PROGRAMS_HERE).map(|number| (*number, Vec::new())));
        // It may end itself.
        rules.insert(SYS_tgkill, vec![rule([differs(0, u64::from(std::process::id()))?])?]);
    } else {
        rules.insert(SYS_clone, new_namespaces()?);
    }
    rules.insert(
        SYS_ioctl,
        vec![rule(QUESTIONS.iter().map(|one| differs(1, question(*one))).collect::<Result<Vec<_>, _>>()?)?],
    );
    let fates = FATES.map(|fate| rule([equals(0, fate.unsigned_abs().into())?]));
    rules.insert(SYS_prctl, fates.into_iter().collect::<Result<_, _>>()?);
    rules.insert(SYS_socket, sockets(needs)?);
    // Its own limits it may know, and lower.
    rules.insert(SYS_prlimit64, vec![rule([differs(0, 0)?])?]);
    for (call, flags) in OPENS {
        // Who may read a file would empty it.
        rules.insert(*call, vec![rule([has_bits(*flags, EMPTIED)?])?]);
    }
    for (call, flags) in [(SYS_sendto, 3), (SYS_sendmsg, 2), (SYS_sendmmsg, 3)] {
        // It would connect without being asked whether it may.
        rules.insert(call, vec![rule([has_bits(flags, FAST_OPEN)?])?]);
    }
    Ok(rules)
}

fn new_namespaces() -> Result<Vec<SeccompRule>, String> {
    let flags =
        [CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP];
    flags.into_iter().map(|flag| rule([has_bits(0, flag.unsigned_abs().into())?])).collect()
}

/// Which sockets cannot be made.
fn sockets(needs: &Needs) -> Result<Vec<SeccompRule>, String> {
    let mut families: Vec<c_int> = Vec::new();
    if needs.network != Network::None {
        families.push(AF_NETLINK);
    }
    if matches!(needs.network, Network::Connect(_)) {
        families.extend([AF_INET, AF_INET6]);
    }
    if !needs.sockets.is_empty() {
        families.push(AF_UNIX);
    }
    if families.is_empty() {
        return Ok(Vec::new());
    }
    let family = |family: c_int| u64::from(family.unsigned_abs());
    let others: Result<Vec<_>, _> = families.iter().map(|own| differs(0, family(*own))).collect();
    let routes_and_sockets = [NETLINK_ROUTE, NETLINK_SOCK_DIAG].map(|own| differs(2, family(own)));
    let [routes, diagnoses] = routes_and_sockets;
    Ok(vec![
        rule(others?)?,
        rule([equals(0, family(AF_NETLINK))?, routes?, diagnoses?])?,
        rule([equals(2, MULTIPATH_TCP)?])?,
    ])
}

fn rule(conditions: impl Into<Vec<SeccompCondition>>) -> Result<SeccompRule, String> {
    SeccompRule::new(conditions.into()).map_err(text)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, String> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).map_err(text)
}

fn equals(argument: u8, value: u64) -> Result<SeccompCondition, String> {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn differs(argument: u8, value: u64) -> Result<SeccompCondition, String> {
    condition(argument, SeccompCmpOp::Ne, value)
}

fn has_bits(argument: u8, bits: u64) -> Result<SeccompCondition, String> {
    condition(argument, SeccompCmpOp::MaskedEq(bits), bits)
}
