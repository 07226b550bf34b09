//! Real proxies as child processes: squid with OpenSSL, and tinyproxy. Ports are chosen at run time, everything else
//! lives in a temporary directory.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a program may take until it listens.
const START_MAX: Duration = Duration::from_secs(60);

/// Where a program is, or a notice that its tests are skipped. `REQUIRE_PROXIES=1` makes that an error.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/lib/squid"];
    let found = places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists());
    if found.is_none() {
        assert!(
            std::env::var_os("REQUIRE_PROXIES").is_none_or(|v| v != "1"),
            "{name} is required and not installed"
        );
        println!("skipped: {name} is not installed (apt-get install squid-openssl tinyproxy)");
    }
    found
}

/// A proxy that ends with the value.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Keeps the files of the program.
    _directory: TempDir,
    start: Vec<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    pub(crate) fn url(&self) -> rs_proxy::settings::ProxyUrl {
        format!("http://{}", self.address).parse().unwrap()
    }

    /// Ends the program and starts it again on the same port.
    pub(crate) fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.child = spawn(&self.start);
        assert!(listens(&mut self.child, self.address), "the proxy does not come back");
    }
}

fn spawn(start: &[String]) -> Child {
    Command::new(&start[0])
        .args(&start[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A port that is free now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until the program listens; false when it ends before that.
fn listens(child: &mut Child, address: SocketAddr) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < START_MAX {
        if TcpStream::connect(address).is_ok() {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20)); // another program's start cannot be waited for otherwise
    }
    false
}

/// A directory that a program which gives up its rights can read.
pub(crate) fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path());
    directory
}

#[cfg(unix)]
fn open(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

#[cfg(not(unix))]
fn open(_path: &Path) {}

/// Times that a start is tried: another program may take the port just before.
const STARTS_MAX: usize = 3;

/// A program with a configuration file made for a free port. `None` when it refuses the configuration.
fn start(
    program: &Path,
    directory: TempDir,
    arguments: &[&str],
    configuration: impl Fn(u16, &str) -> String,
) -> Option<Running> {
    let path = directory.path().join("proxy.conf");
    for _ in 0..STARTS_MAX {
        let port = free_port();
        fs::write(&path, configuration(port, &directory.path().display().to_string())).unwrap();
        let fill = |argument: &&str| {
            argument.replace("{conf}", &path.display().to_string()).replace("{port}", &port.to_string())
        };
        let start: Vec<String> =
            std::iter::once(program.display().to_string()).chain(arguments.iter().map(fill)).collect();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut child = spawn(&start);
        if listens(&mut child, address) {
            return Some(Running { child, address, _directory: directory, start });
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    None
}

/// squid with the given configuration lines. `{port}` stands for its port, `{dir}` for its directory. `None` when squid
/// refuses the configuration.
pub(crate) fn squid(program: &Path, directory: TempDir, lines: &str) -> Option<Running> {
    start(program, directory, &["-N", "-f", "{conf}", "-n", "bed{port}"], |port, dir| {
        let body = lines.replace("{port}", &port.to_string()).replace("{dir}", dir);
        let hosts = if body.contains("hosts_file") { "" } else { "hosts_file none\n" };
        let own = body.contains(&format!("127.0.0.1:{port}"));
        let listen = if own { String::new() } else { format!("http_port 127.0.0.1:{port}\n") };
        format!(
            "{listen}{body}\nvisible_hostname bed.invalid\npid_filename none\naccess_log none\ncache_log /dev/null\n\
             cache_store_log none\ncache deny all\ncache_mem 8 MB\nmemory_pools off\nshutdown_lifetime 0 seconds\n\
             coredump_dir none\ndns_nameservers 127.0.0.1\nnetdb_filename none\npinger_enable off\n\
             max_filedescriptors 1024\nicp_port 0\n{hosts}"
        )
    })
}

/// tinyproxy with the given configuration lines.
pub(crate) fn tinyproxy(program: &Path, directory: TempDir, lines: &str) -> Option<Running> {
    start(program, directory, &["-d", "-c", "{conf}"], |port, dir| {
        let lines = lines.replace("{dir}", dir);
        format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 30\nMaxClients 50\nAllow 127.0.0.1\nLogLevel Critical\n{lines}\n"
        )
    })
}
