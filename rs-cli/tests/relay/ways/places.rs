//! Three places in network namespaces of their own: a node, a relay, and between them a router that keeps track of
//! connections, as firewalls and NAT devices do. Needs root, `ip` (iproute2), `nft` (nftables) and util-linux.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub(super) const RELAY: &str = "10.77.2.2";

/// What the router drops: packets of connections that it does not know. A connection that was silent for too long is
/// one of them, and nobody is told.
const RULES: &str = "table ip router {
    chain passing {
        type filter hook forward priority filter; policy accept;
        ct state invalid drop
        tcp flags & (fin | syn | rst | ack) != syn ct state new drop
    }
}";

/// A network namespace. It lives as long as the process that holds it, which ends with this one.
pub(super) struct Place {
    holder: Child,
    namespace: File,
}

impl Place {
    fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo there; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare of util-linux");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        assert_eq!(line, "there\n", "no network namespace could be made");
        let namespace = File::open(format!("/proc/{}/ns/net", holder.id())).expect("the namespace");
        let place = Self { holder, namespace };
        place.run("ip link set lo up");
        place
    }

    /// Runs a line of shell there.
    fn run(&self, line: &str) {
        self.feed(line, "");
    }

    fn feed(&self, line: &str, input: &str) {
        let net = format!("--net=/proc/{}/ns/net", self.holder.id());
        let mut child = Command::new("nsenter")
            .args([&net, "sh", "-e", "-c", line])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nsenter of util-linux");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
        assert!(child.wait().expect("a child").success(), "{line}");
    }

    /// Does work in a thread of its own that is there, with a runtime that is there, too.
    pub(super) fn thread<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let namespace = self.namespace.try_clone().expect("a descriptor");
        std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root");
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(work())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// The three, connected.
pub(super) struct Places {
    pub(super) node: Place,
    device: Place,
    pub(super) relay: Place,
}

impl Places {
    /// With a router that forgets connections which were silent for so long. `None` where this machine cannot have that.
    pub(super) fn new(forgets_after: Duration) -> Option<Self> {
        if let Some(missing) = missing() {
            assert!(std::env::var_os("REQUIRE_NETNS").is_none(), "required, but {missing}");
            eprintln!("skipped: {missing}");
            return None;
        }
        let (node, device, relay) = (Place::new(), Place::new(), Place::new());
        for (number, end) in [(1, &node), (2, &relay)] {
            device.run(&format!(
                "ip link add to{number} type veth peer name way netns {}
                 ip address add 10.77.{number}.1/24 dev to{number}
                 ip link set to{number} up",
                end.holder.id()
            ));
            end.run(&format!(
                "ip address add 10.77.{number}.2/24 dev way
                 ip link set way up
                 ip route add default via 10.77.{number}.1"
            ));
        }
        device.feed("nft -f -", RULES);
        device.run(&format!(
            "cd /proc/sys/net
             echo 1 > ipv4/ip_forward
             echo 0 > netfilter/nf_conntrack_tcp_loose
             echo {} > netfilter/nf_conntrack_tcp_timeout_established",
            forgets_after.as_secs()
        ));
        Some(Self { node, device, relay })
    }

    /// From now on the router drops everything, both ways, and says nothing.
    pub(super) fn cut(&self) {
        self.device
            .run("nft add chain ip router passing '{ policy drop; }'; nft flush chain ip router passing");
    }

    /// As it was, from one moment to the next: without any rules in between the router would let connections begin that it
    /// has not seen, and drop them afterwards as of none that it knows.
    pub(super) fn mend(&self) {
        self.device.feed("nft -f -", &format!("delete table ip router\n{RULES}"));
    }
}

fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    let there = |program: &str| {
        let found = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.is_ok()
    };
    ["ip", "nft", "nsenter", "unshare"]
        .into_iter()
        .find(|program| !there(program))
        .map(|program| format!("{program} is not installed"))
}
