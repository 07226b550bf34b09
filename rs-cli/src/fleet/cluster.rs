//! The nodes of this node's cluster, where somebody here knows them: the cluster service of Windows keeps them in the registry
//! of each of its nodes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::target::Host;
use crate::outcome::{ErrorCode, Failure};

/// Where the cluster service keeps a key for each node, and the value with its name.
const NODES: &str = r"HKLM\Cluster\Nodes";
const NAME: &str = "NodeName";

/// Asks for the nodes of this cluster.
///
/// # Errors
///
/// [`ErrorCode::NotAvailable`] where nothing on this machine knows them: the option is refused then, never dropped.
pub(super) fn nodes() -> Result<Vec<Host>, Failure> {
    let told = registry();
    let hosts = told.as_deref().and_then(names).unwrap_or_default();
    if hosts.is_empty() {
        return Err(Failure::new(
            ErrorCode::NotAvailable,
            "nothing on this machine says which nodes the cluster has",
        )
        .about("--cluster")
        .next_step("name them: --nodes-from FILE with one node a line, or --node for each"));
    }
    Ok(hosts)
}

/// What `reg` prints of them; the program of Windows is taken by its whole path.
fn registry() -> Option<String> {
    let root = std::env::var_os("SystemRoot").filter(|_| cfg!(windows))?;
    let program = PathBuf::from(root).join("System32").join("reg.exe");
    let mut command = Command::new(program);
    command.args(["query", NODES, "/s", "/v", NAME]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The names in lines such as `    NodeName    REG_SZ    N1`; none where one of them is no name, so that none is left out
/// unseen.
fn names(text: &str) -> Option<Vec<Host>> {
    let values = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let is_name = words.next() == Some(NAME) && words.next() == Some("REG_SZ");
        is_name.then(|| words.collect::<Vec<_>>().join(" "))
    });
    values.map(|name| name.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f02_the_names_that_the_cluster_service_keeps() {
        let text = "\r\nHKEY_LOCAL_MACHINE\\Cluster\\Nodes\\1\r\n    NodeName    REG_SZ    AZL-N1\r\n\r\n\
                    HKEY_LOCAL_MACHINE\\Cluster\\Nodes\\2\r\n    NodeName    REG_SZ    AZL-N2\r\n\r\n\
                    End of search: 2 match(es) found.\r\n";
        let hosts = names(text).expect("names");
        assert_eq!(hosts.iter().map(Host::as_str).collect::<Vec<_>>(), ["AZL-N1", "AZL-N2"]);
        assert_eq!(names("ERROR: no such key\r\n"), Some(Vec::new()));
        assert_eq!(names("    NodeName    REG_SZ    -oX\r\n    NodeName    REG_SZ    n2\r\n"), None);
        assert_eq!(names("    NodeName    REG_SZ    a b\r\n"), None, "none is left out unseen");
        assert_eq!(names("    NodeName    REG_SZ    \r\n"), None);
    }

    #[cfg(not(windows))]
    #[test]
    fn f02_where_nobody_knows_them_it_is_refused() {
        assert_eq!(nodes().expect_err("nobody").code(), ErrorCode::NotAvailable);
    }
}
