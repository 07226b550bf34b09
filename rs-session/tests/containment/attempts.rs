//! Ways in which an operation tries to go beyond what it declared. Each says whether it got through.

#![expect(unsafe_code, reason = "what a broken operation can do, it does by system calls")]

use std::ffi::CString;
use std::fs;
use std::io::{Error, ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;

use libc::{c_int, c_long};

/// What an attempt finds prepared for it.
pub(crate) struct Scene {
    /// A directory that everybody may enter: `open` that everybody may write in, `keys` for root alone, `socket`.
    pub(crate) directory: PathBuf,
    /// A port at which the test listens, by TCP and UDP.
    pub(crate) port: u16,
    /// A process of root that only waits.
    pub(crate) victim: i32,
}

/// See [`Scene::unexpected`].
pub(crate) fn unexpected(port: u16) -> PathBuf {
    PathBuf::from(format!("/rs-containment-{port}"))
}

type Outcome = Result<(), Error>;
pub(crate) type Attempt = (&'static str, fn(&Scene) -> Outcome);

fn text(path: PathBuf) -> CString {
    CString::new(path.into_os_string().into_encoded_bytes()).unwrap()
}

impl Scene {
    fn open(&self, name: &str) -> PathBuf {
        self.directory.join("open").join(name)
    }

    /// A directory at the top of the file system, of a name that no system knows, with a socket for everybody.
    fn unexpected(&self) -> PathBuf {
        unexpected(self.port)
    }

    fn file(&self) -> CString {
        text(self.open("file"))
    }

    fn of_victim(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.victim))
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
}

/// What a system call gives, as a result.
fn call(given: impl Into<i64>) -> Outcome {
    if given.into() < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

fn numbered(number: c_long, arguments: [usize; 5]) -> Outcome {
    let [a, b, c, d, e] = arguments;
    // SAFETY: every pointer among the arguments lives until the call returns.
    call(unsafe { libc::syscall(number, a, b, c, d, e) })
}

/// Through if the kernel looked at what was asked, whatever it said about it.
fn looked_at(outcome: Outcome) -> Outcome {
    match outcome {
        Err(error)
            if [Some(libc::EPERM), Some(libc::ENOSYS), Some(libc::EACCES)]
                .contains(&error.raw_os_error()) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

fn socket(family: c_int, kind: c_int, protocol: c_int) -> Outcome {
    // SAFETY: no pointers.
    call(unsafe { libc::socket(family, kind, protocol) })
}

fn writes(path: impl Into<PathBuf>) -> Outcome {
    let path = path.into();
    fs::OpenOptions::new().write(true).create_new(true).open(&path)?.write_all(b"x")?;
    let _ = fs::remove_file(path);
    Ok(())
}

fn reads(path: impl Into<PathBuf>) -> Outcome {
    use std::io::Read as _;
    fs::File::open(path.into())?.read_exact(&mut [0]).or_else(|error| {
        // An empty file was opened, and that is what counts.
        if error.kind() == ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) }
    })
}

fn lists(path: impl Into<PathBuf>) -> Outcome {
    fs::read_dir(path.into()).map(drop)
}

fn runs(program: &str, arguments: &[&str]) -> Outcome {
    let status = Command::new(program).args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(Error::other(format!("{status}"))) }
}

fn exec_by_descriptor(descriptor: c_int) -> Outcome {
    let arguments = [c"true".as_ptr(), std::ptr::null()];
    // SAFETY: the child of fork only calls execveat and _exit; all pointers outlive both.
    let child = unsafe { libc::fork() };
    call(child)?;
    if child == 0 {
        // SAFETY: as above.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                descriptor,
                c"".as_ptr(),
                arguments.as_ptr(),
                std::ptr::null::<libc::c_char>(),
                libc::AT_EMPTY_PATH,
            );
            libc::_exit(99)
        }
    }
    let mut status = 0;
    // SAFETY: `status` is ours.
    call(unsafe { libc::waitpid(child, &raw mut status, 0) })?;
    if status == 0 { Ok(()) } else { Err(Error::other(format!("status {status}"))) }
}

fn own_parent() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap_or("0").trim().to_owned()
}

pub(crate) const ALL: &[Attempt] = &[
    // ---- write ----
    ("write: a file where everybody may", |scene| writes(scene.open("new"))),
    ("write: /tmp", |_| writes(format!("/tmp/rs-containment-{}", std::process::id()))),
    ("write: /var/tmp", |_| writes(format!("/var/tmp/rs-containment-{}", std::process::id()))),
    ("write: /dev/shm", |_| writes(format!("/dev/shm/rs-containment-{}", std::process::id()))),
    ("write: /run", |_| writes(format!("/run/rs-containment-{}", std::process::id()))),
    ("write: /etc", |_| writes(format!("/etc/rs-containment-{}", std::process::id()))),
    ("write: /root", |_| writes(format!("/root/rs-containment-{}", std::process::id()))),
    ("write: /usr/bin", |_| writes(format!("/usr/bin/rs-containment-{}", std::process::id()))),
    ("write: the state directory", |scene| writes(scene.directory.join("keys/new"))),
    ("write: append to a file", |scene| {
        fs::OpenOptions::new().append(true).open(scene.open("file"))?.write_all(b"x")
    }),
    ("write: truncate a file by its path", |scene| {
        // SAFETY: the path lives until the call returns.
        call(unsafe { libc::truncate(scene.file().as_ptr(), 0) })
    }),
    ("write: truncate a file while reading it", |scene| {
        // SAFETY: as above.
        call(unsafe { libc::open(scene.file().as_ptr(), libc::O_RDONLY | libc::O_TRUNC) })
    }),
    ("write: truncate a file while reading it by a newer call", |scene| {
        let path = scene.file();
        let how = [u64::try_from(libc::O_RDONLY | libc::O_TRUNC).unwrap(), 0, 0];
        numbered(
            libc::SYS_openat2,
            [usize::MAX - 99, path.as_ptr() as usize, how.as_ptr() as usize, size_of_val(&how), 0],
        )
    }),
    ("write: rename", |scene| fs::rename(scene.open("file"), scene.open("renamed"))),
    ("write: remove", |scene| fs::remove_file(scene.open("file"))),
    ("write: make a directory", |scene| fs::create_dir(scene.open("directory"))),
    ("write: remove a directory", |scene| fs::remove_dir(scene.open("empty"))),
    ("write: link by name", |scene| std::os::unix::fs::symlink("/etc/shadow", scene.open("link"))),
    ("write: link by inode", |scene| fs::hard_link(scene.open("file"), scene.open("second"))),
    ("write: make a pipe", |scene| {
        // SAFETY: as above.
        call(unsafe { libc::mkfifo(text(scene.open("pipe")).as_ptr(), 0o666) })
    }),
    ("write: change the mode", |scene| {
        fs::set_permissions(scene.open("file"), fs::Permissions::from_mode(0o4755))
    }),
    ("write: change the owner", |scene| std::os::unix::fs::chown(scene.open("file"), Some(1), Some(1))),
    ("write: change the times", |scene| {
        // SAFETY: as above; no times means now.
        call(unsafe { libc::utimensat(libc::AT_FDCWD, scene.file().as_ptr(), std::ptr::null(), 0) })
    }),
    ("write: set an attribute", |scene| {
        // SAFETY: as above.
        call(unsafe { libc::setxattr(scene.file().as_ptr(), c"user.x".as_ptr(), c"y".as_ptr().cast(), 1, 0) })
    }),
    ("write: own settings in /proc", |_| {
        fs::OpenOptions::new().write(true).open("/proc/self/oom_score_adj")?.write_all(b"0")
    }),
    ("write: a setting of the kernel", |_| {
        fs::OpenOptions::new().write(true).open("/proc/sys/kernel/domainname").map(drop)
    }),
    ("write: the kernel's log", |_| fs::OpenOptions::new().write(true).open("/dev/kmsg").map(drop)),
    ("write: a terminal", |_| fs::OpenOptions::new().read(true).write(true).open("/dev/ptmx").map(drop)),
    // ---- connect ----
    ("connect: TCP", |scene| TcpStream::connect(scene.address()).map(drop)),
    ("connect: TCP over IPv6", |scene| looked_at(TcpStream::connect(("::1", scene.port)).map(drop))),
    ("connect: multipath TCP", |_| socket(libc::AF_INET, libc::SOCK_STREAM, 262)),
    ("connect: UDP", |scene| UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", scene.address()).map(drop)),
    ("connect: be connected to by TCP", |_| TcpListener::bind("127.0.0.1:0").map(drop)),
    ("connect: a socket with a path", |scene| UnixStream::connect(scene.directory.join("socket")).map(drop)),
    ("connect: a socket where nobody expects one", |scene| {
        UnixStream::connect(scene.unexpected().join("socket")).map(drop)
    }),
    ("connect: an abstract socket", |scene| {
        let name = format!("rs-containment-{}", scene.port);
        UnixStream::connect_addr(&UnixAddr::from_abstract_name(name)?).map(drop)
    }),
    ("connect: make a socket with a path", |scene| UnixListener::bind(scene.open("own-socket")).map(drop)),
    ("connect: the kernel's events", |_| {
        socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT)
    }),
    ("connect: netfilter", |_| socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER)),
    ("connect: the hypervisor", |_| looked_at(socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0))),
    ("connect: raw packets of IP", |_| socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)),
    ("connect: raw packets of a link", |_| socket(libc::AF_PACKET, libc::SOCK_RAW, 0)),
    ("connect: the kernel's ciphers", |_| looked_at(socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0))),
    ("connect: bluetooth", |_| looked_at(socket(libc::AF_BLUETOOTH, libc::SOCK_RAW, 1))),
    // ---- start a program ----
    ("start: a shell", |_| runs("/bin/sh", &["-c", "exit 0"])),
    ("start: a program", |_| runs("/bin/true", &[])),
    ("start: a program by the loader", |_| runs("/lib64/ld-linux-x86-64.so.2", &["/bin/true"])),
    ("start: a setuid program", |_| runs("/usr/bin/chfn", &["--help"])),
    ("start: this program", |_| runs("/proc/self/exe", &["--list"])),
    ("start: a script", |scene| runs(&scene.directory.join("script").to_string_lossy(), &[])),
    ("start: a program by its descriptor", |_| {
        // SAFETY: the path is a literal.
        let program = unsafe { libc::open(c"/bin/true".as_ptr(), libc::O_PATH) };
        call(program)?;
        exec_by_descriptor(program)
    }),
    ("start: a program from memory", |_| {
        // SAFETY: the name is a literal.
        let memory = unsafe { libc::memfd_create(c"x".as_ptr(), 0) };
        call(memory)?;
        fs::write(format!("/proc/self/fd/{memory}"), fs::read("/bin/true")?)?;
        exec_by_descriptor(memory)
    }),
    // ---- gain rights ----
    ("rights: become root", |_| {
        // SAFETY: no pointers.
        call(unsafe { libc::setresuid(0, 0, 0) })
    }),
    ("rights: join groups", |_| {
        // SAFETY: one group, which is ours.
        call(unsafe { libc::setgroups(1, [0].as_ptr()) })
    }),
    ("rights: raise capabilities", |_| {
        let header = [0x2008_0522_u32, 0];
        let all = [u32::MAX, u32::MAX, 0, 0x1ff, 0x1ff, 0];
        // SAFETY: both live until the call returns; the form is the third, of two words.
        looked_at(call(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), all.as_ptr()) })).and_then(
            |()| {
                let own = fs::read_to_string("/proc/self/status")?;
                let some = own
                    .lines()
                    .any(|line| line.starts_with("CapEff:") && !line.ends_with("0000000000000000"));
                if some { Ok(()) } else { Err(Error::other("no capability is effective")) }
            },
        )
    }),
    ("rights: a user namespace", |_| {
        // SAFETY: no pointers.
        call(unsafe { libc::unshare(libc::CLONE_NEWUSER) })
    }),
    ("rights: a process in a user namespace", |_| {
        let flags = usize::try_from(libc::CLONE_NEWUSER | libc::SIGCHLD).unwrap();
        // SAFETY: without a stack of its own the child goes on here as after fork; it ends at once.
        let child = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        if child == 0 {
            // SAFETY: no pointers.
            unsafe { libc::_exit(0) }
        }
        call(child)
    }),
    ("rights: a mount namespace", |_| {
        // SAFETY: no pointers.
        call(unsafe { libc::unshare(libc::CLONE_NEWNS) })
    }),
    ("rights: mount", |scene| {
        let place = text(scene.open("empty"));
        // SAFETY: all live until the call returns.
        call(unsafe {
            libc::mount(c"none".as_ptr(), place.as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null())
        })?;
        // SAFETY: as above.
        call(unsafe { libc::umount(place.as_ptr()) })
    }),
    ("rights: another root", |_| {
        // SAFETY: the path is a literal.
        call(unsafe { libc::chroot(c"/".as_ptr()) })
    }),
    ("rights: take another's namespace", |_| {
        let other = fs::File::open("/proc/1/ns/uts")?;
        // SAFETY: the descriptor is open.
        call(unsafe { libc::setns(std::os::fd::AsRawFd::as_raw_fd(&other), 0) })
    }),
    ("rights: trace a process", |scene| {
        // SAFETY: no pointers.
        call(unsafe { libc::ptrace(libc::PTRACE_SEIZE, scene.victim, 0, 0) })
    }),
    ("rights: a descriptor of a process", |scene| {
        let victim = usize::try_from(scene.victim).unwrap();
        // SAFETY: no pointers.
        let process = unsafe { libc::syscall(libc::SYS_pidfd_open, victim, 0) };
        call(process)?;
        numbered(libc::SYS_pidfd_getfd, [usize::try_from(process).unwrap(), 0, 0, 0, 0])
    }),
    ("rights: a program in the kernel", |_| {
        let map = [2_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        numbered(libc::SYS_bpf, [0, map.as_ptr() as usize, size_of_val(&map), 0, 0])
    }),
    ("rights: a module of the kernel", |_| {
        looked_at(numbered(libc::SYS_init_module, [1, 0, c"".as_ptr() as usize, 0, 0]))
    }),
    ("rights: another kernel", |_| looked_at(numbered(libc::SYS_kexec_load, [0, 1 << 20, 0, 0, 0]))),
    ("rights: a key", |_| {
        numbered(
            libc::SYS_add_key,
            [
                c"user".as_ptr() as usize,
                c"rs-containment".as_ptr() as usize,
                c"x".as_ptr() as usize,
                1,
                usize::MAX - 1,
            ],
        )
    }),
    ("rights: counters of the processor", |_| {
        let mut about = [0_u64; 16];
        about[0] = 1 | (128 << 32);
        looked_at(numbered(
            libc::SYS_perf_event_open,
            [about.as_ptr() as usize, 0, usize::MAX, usize::MAX, 0],
        ))
    }),
    ("rights: faults of memory", |_| numbered(libc::SYS_userfaultfd, [0; 5])),
    ("rights: a ring of system calls", |_| {
        let parameters = [0_u8; 120];
        numbered(libc::SYS_io_uring_setup, [1, parameters.as_ptr() as usize, 0, 0, 0])
    }),
    ("rights: the host's name", |_| {
        let name = fs::read("/proc/sys/kernel/hostname")?;
        // SAFETY: the name lives until the call returns; without its line end.
        call(unsafe { libc::sethostname(name.as_ptr().cast(), name.len() - 1) })
    }),
    ("rights: the clock", |_| {
        let (mut now, mut zone) = ([0_i64; 2], [0_i32; 2]);
        // SAFETY: both are ours. Setting the zone that is set changes nothing.
        unsafe { libc::syscall(libc::SYS_gettimeofday, now.as_mut_ptr(), zone.as_mut_ptr()) };
        numbered(libc::SYS_settimeofday, [0, zone.as_ptr() as usize, 0, 0, 0])
    }),
    ("rights: memory that others share", |_| {
        // SAFETY: no pointers.
        let memory = unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, 0o600) };
        call(memory)?;
        // SAFETY: as above.
        call(unsafe { libc::shmctl(memory, libc::IPC_RMID, std::ptr::null_mut()) })
    }),
    ("rights: another personality", |_| numbered(libc::SYS_personality, [0x0004_0000, 0, 0, 0, 0])),
    // ---- read secrets ----
    ("secrets: the node's key", |scene| reads(scene.directory.join("keys/node.key"))),
    ("secrets: what everybody may read", |scene| reads(scene.open("readable"))),
    ("secrets: /etc/shadow", |_| reads("/etc/shadow")),
    ("secrets: /etc/passwd", |_| reads("/etc/passwd")),
    ("secrets: root's directory", |_| lists("/root")),
    ("secrets: /home", |_| lists("/home")),
    ("secrets: temporary files", |_| lists("/tmp")),
    ("secrets: a process's environment", |scene| reads(scene.of_victim("environ"))),
    ("secrets: a process's memory", |scene| fs::File::open(scene.of_victim("mem")).map(drop)),
    ("secrets: a process's map", |scene| reads(scene.of_victim("maps"))),
    ("secrets: which files a process has open", |scene| fs::read_link(scene.of_victim("fd/0")).map(drop)),
    ("secrets: a process's root", |scene| lists(scene.of_victim("root"))),
    ("secrets: a process's directory", |scene| lists(scene.of_victim("cwd"))),
    ("secrets: a process's memory by a call", |scene| {
        let mut byte = [0_u8; 1];
        let own = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
        let other = libc::iovec { iov_base: std::ptr::without_provenance_mut(1), iov_len: 1 };
        // SAFETY: one byte that is ours; the other address is looked at by the kernel only.
        let read = unsafe { libc::process_vm_readv(scene.victim, &raw const own, 1, &raw const other, 1, 0) };
        looked_at(call(i64::try_from(read).unwrap()))
    }),
    ("secrets: the supervisor's memory", |_| fs::File::open(format!("/proc/{}/mem", own_parent())).map(drop)),
    ("secrets: the supervisor's environment", |_| reads(format!("/proc/{}/environ", own_parent()))),
    ("secrets: the kernel's memory", |_| fs::File::open("/proc/kcore").map(drop)),
    ("secrets: the kernel's messages", |_| {
        numbered(libc::SYS_syslog, [3, [0_u8; 64].as_ptr() as usize, 64, 0, 0])
    }),
    ("secrets: a disk", |_| {
        let name = fs::read_dir("/sys/block")?.flatten().map(|entry| entry.file_name()).find(|name| {
            name.to_str().is_some_and(|name| {
                name.starts_with("vd") || name.starts_with("sd") || name.starts_with("nv")
            })
        });
        fs::File::open(PathBuf::from("/dev").join(name.unwrap_or_else(|| "vda".into()))).map(drop)
    }),
    ("secrets: a file by its handle", |_| {
        let mut handle = [0_u32; 34];
        handle[0] = 128;
        let mut mount = 0_i32;
        numbered(
            libc::SYS_name_to_handle_at,
            [
                usize::MAX - 99,
                c"/etc/shadow".as_ptr() as usize,
                handle.as_mut_ptr() as usize,
                (&raw mut mount) as usize,
                0,
            ],
        )
    }),
    // ---- reach other processes ----
    ("others: signal", |scene| {
        // SAFETY: no pointers.
        call(unsafe { libc::kill(scene.victim, libc::SIGCONT) })
    }),
    ("others: signal a thread", |scene| {
        let victim = usize::try_from(scene.victim).unwrap();
        numbered(libc::SYS_tgkill, [victim, victim, usize::try_from(libc::SIGCONT).unwrap(), 0, 0])
    }),
    ("others: signal everybody", |_| {
        // SAFETY: no pointers; the signal that does nothing.
        call(unsafe { libc::kill(-1, 0) })
    }),
    ("others: signal the supervisor", |_| {
        let parent = own_parent().parse().unwrap_or(0);
        // SAFETY: no pointers; the signal that does nothing.
        call(unsafe { libc::kill(parent, 0) })
    }),
    ("others: priority", |scene| {
        // SAFETY: no pointers.
        call(unsafe { libc::setpriority(libc::PRIO_PROCESS, scene.victim.unsigned_abs(), 1) })
    }),
    ("others: limits", |scene| {
        let limit = libc::rlimit64 { rlim_cur: 1 << 30, rlim_max: 1 << 30 };
        // SAFETY: the limit lives until the call returns; nothing is given back.
        call(unsafe {
            libc::prlimit64(scene.victim, libc::RLIMIT_AS, &raw const limit, std::ptr::null_mut())
        })
    }),
    // ---- outlive the session, exhaust the machine ----
    ("outlive: without the signal at the supervisor's death", |_| {
        // SAFETY: no pointers.
        call(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) })
    }),
    ("outlive: adopt orphans", |_| {
        // SAFETY: no pointers.
        call(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) })
    }),
    ("outlive: another control group", |_| {
        let groups = [
            "/sys/fs/cgroup/cgroup.procs",
            "/sys/fs/cgroup/unified/cgroup.procs",
            "/sys/fs/cgroup/pids/tasks",
        ];
        let there = groups.into_iter().find(|path| std::path::Path::new(path).exists());
        fs::OpenOptions::new().write(true).custom_flags(0).open(there.unwrap_or(groups[0])).map(drop)
    }),
    ("exhaust: memory", |_| {
        let bytes = 8 << 30;
        let (read, private) =
            (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: a mapping of its own that nobody uses.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes, read, private, -1, 0) };
        if memory == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(()) }
    }),
    ("exhaust: open files", |_| {
        // SAFETY: no pointers.
        (0..1000).try_for_each(|_| call(unsafe { libc::dup(2) }))
    }),
    ("exhaust: larger limits", |_| {
        let limit = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
        // SAFETY: the limit lives until the call returns.
        call(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
    }),
];
