//! Form, bounds, callers and versions of the control socket.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::state::{Role, StateDir};

#[test]
fn messages_have_the_agreed_form() {
    let id = Uuid::from_u128(7);
    let owner = Grantor {
        user: "admin".parse().expect("a name"),
        host: "node-01".parse().expect("a name"),
        method: rs_consent::party::Method::CommandLine,
    };
    for (request, expected) in [
        (ControlRequest::Changed {}, json!({"request": "changed"})),
        (
            ControlRequest::Shut { by: owner.clone() },
            json!({"request": "shut", "by": {"user": "admin", "host": "node-01", "method": "command-line"}}),
        ),
        (ControlRequest::Status {}, json!({"request": "status"})),
        (ControlRequest::EndSession { session_id: id }, json!({"request": "end-session", "sessionId": id})),
        (ControlRequest::Approvals {}, json!({"request": "approvals"})),
        (
            ControlRequest::Answer { approval_id: id, verdict: Verdict::Decline { reason: "no".into() } },
            json!({"request": "answer", "approvalId": id, "verdict": {"verdict": "decline", "reason": "no"}}),
        ),
    ] {
        assert_eq!(serde_json::to_value(&request).expect("json"), expected);
        assert_eq!(serde_json::from_value::<ControlRequest>(expected).expect("reads back"), request);
    }
    let reply = ControlReply::Changed(Changed { sessions_ended: 2, elapsed_ms: 41, ..Changed::default() });
    let expected = json!({
        "reply": "changed", "sessionsEnded": 2, "sessions": [], "sessionsStillEnding": 0, "elapsedMs": 41
    });
    assert_eq!(serde_json::to_value(&reply).expect("json"), expected);
    assert_eq!(serde_json::from_value::<ControlReply>(expected).expect("reads back"), reply);
}

#[test]
fn sec02_no_request_can_make_or_widen_a_consent() {
    for foreign in [json!({"request": "enable"}), json!({"request": "changed", "accessLevel": "Diagnostics"})]
    {
        assert!(serde_json::from_value::<ControlRequest>(foreign).is_err());
    }
}

fn node() -> (tempfile::TempDir, RoleDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let node = StateDir::new(Some(directory.path().join("s"))).expect("a path").role(Role::Node);
    (directory, node)
}

async fn serve_one_answer(node: &RoleDir) -> tokio::task::JoinHandle<io::Result<()>> {
    let server = ControlServer::bind(node).expect("bound");
    tokio::spawn(server.serve(|_, request| async move {
        match request {
            ControlRequest::Changed {} => {
                ControlReply::Changed(Changed { sessions_ended: 3, ..Changed::default() })
            }
            _ => ControlReply::Failed { code: "test".into(), message: "not in this test".into() },
        }
    }))
}

async fn ask(node: &RoleDir, request: &ControlRequest) -> Result<ControlReply, ControlError> {
    exchange(&node.file(SOCKET_NAME), request).await
}

#[tokio::test]
async fn an_agent_answers_and_a_missing_one_is_told_apart() {
    let (_directory, node) = node();
    assert!(matches!(ask(&node, &ControlRequest::Changed {}).await, Err(ControlError::NotRunning)));
    let server = serve_one_answer(&node).await;
    let reply = ask(&node, &ControlRequest::Changed {}).await.expect("answered");
    assert_eq!(reply, ControlReply::Changed(Changed { sessions_ended: 3, ..Changed::default() }));
    assert!(matches!(ask(&node, &ControlRequest::Status {}).await, Ok(ControlReply::Failed { .. })));
    server.abort();
}

/// Sends bytes as they are and gives what comes back: a program of another version.
async fn raw(node: &RoleDir, body: &[u8]) -> serde_json::Value {
    let mut stream = platform::connect_control(&node.file(SOCKET_NAME)).await.expect("there");
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    stream.write_all(&[&length[..], body].concat()).await.expect("sent");
    read_message(&mut stream).await.expect("an answer")
}

#[tokio::test]
async fn i12_an_unknown_request_and_an_unknown_form_are_refused_clearly() {
    let (_directory, node) = node();
    let server = serve_one_answer(&node).await;
    for (body, code, said) in [
        (&br#"{"request":"added-later","x":1}"#[..], CODE_VERSION, "`added-later`"),
        (b"{\"request\":\"a\\u001b[2J\"}", CODE_VERSION, "console-code"),
        (br#"{"request":"status","deep":true}"#, CODE_MALFORMED, "`status`"),
        (br#"{"request":"end-session","sessionId":"7"}"#, CODE_MALFORMED, "`end-session`"),
        (b"[]", CODE_MALFORMED, "JSON object"),
        (b"\xff", CODE_MALFORMED, "JSON object"),
    ] {
        let reply = raw(&node, body).await;
        assert_eq!((&reply["reply"], &reply["code"]), (&json!("failed"), &json!(code)), "{reply}");
        let message = reply["message"].as_str().expect("words");
        assert!(message.contains(said) && !message.contains('\u{1b}'), "{message}");
    }
    server.abort();
}

/// An old client knows nothing of the version: its bytes are those that it always sent.
#[tokio::test]
async fn i12_an_old_client_is_answered_by_a_new_agent() {
    let (_directory, node) = node();
    let server = serve_one_answer(&node).await;
    let reply = raw(&node, br#"{"request":"changed"}"#).await;
    assert_eq!(
        reply,
        json!({"reply": "changed", "sessionsEnded": 3, "sessions": [], "sessionsStillEnding": 0, "elapsedMs": 0})
    );
    server.abort();
}

/// An old agent answers as it always did: `version` as code for what it does not know.
#[tokio::test]
async fn i12_a_new_client_is_answered_by_an_old_agent() {
    let (_directory, node) = node();
    let server = ControlServer::bind(&node).expect("bound");
    let server = tokio::spawn(server.serve(|_, _| async {
        let message = "this agent does not know the request; commands and agent may differ in version";
        ControlReply::Failed { code: "version".into(), message: message.into() }
    }));
    let control = SocketControl { path: node.file(SOCKET_NAME), wait: REPLY_WAIT };
    let (version, code) = tokio::task::spawn_blocking(move || (control.version(), control.console_code()))
        .await
        .expect("no panic");
    let version = version.expect("an answer");
    assert_eq!((version.api, version.knows("answer"), version.knows("console-code")), (0, true, false));
    assert_eq!(code.expect("an answer"), None);
    server.abort();
}

#[tokio::test]
async fn an_agent_that_is_stuck_is_not_waited_for() {
    let (_directory, node) = node();
    let server = ControlServer::bind(&node).expect("bound");
    let server = tokio::spawn(server.serve(|_, _| std::future::pending()));
    let control = SocketControl { path: node.file(SOCKET_NAME), wait: Duration::from_millis(20) };
    let answer = tokio::task::spawn_blocking(move || control.notify_changed()).await.expect("no panic");
    assert!(matches!(answer, Err(ControlError::NoAnswer(_))), "{answer:?}");
    server.abort();
}

#[tokio::test]
async fn a_node_has_one_agent_and_a_dead_one_leaves_the_place_free() {
    let (_directory, node) = node();
    let first = ControlServer::bind(&node).expect("bound");
    let failure = ControlServer::bind(&node).expect_err("taken");
    assert_eq!(failure.code(), ErrorCode::AgentUnreachable);
    drop(first);
    std::fs::write(node.file(SOCKET_NAME), "left behind").expect("own folder");
    ControlServer::bind(&node).expect("free again");
}

#[cfg(unix)]
#[tokio::test]
async fn sec40_the_socket_is_the_owners_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_directory, node) = node();
    let _server = ControlServer::bind(&node).expect("bound");
    let mode = node.file(SOCKET_NAME).metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[cfg(unix)]
const CALLED: &str = "REMOTE_SUPPORT_TEST_SOCKET";

/// Not a test of its own: what another user does in the test below.
#[cfg(unix)]
#[test]
#[ignore = "started by sec40_another_user_is_hung_up_on_even_where_the_modes_let_it_in"]
fn sec40_call_from_another_process() {
    let Some(path) = std::env::var_os(CALLED) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    println!("{:?}", runtime.block_on(exchange(Path::new(&path), &ControlRequest::Changed {})));
}

/// The modes of files are opened wide, so that the check of the caller's identity is all there is. Another user can
/// only be played by root; without root the decision alone is tested, in the platform's module.
#[cfg(unix)]
#[tokio::test]
async fn sec40_another_user_is_hung_up_on_even_where_the_modes_let_it_in() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (directory, node) = node();
    let server = serve_one_answer(&node).await;
    for folder in [directory.path(), &directory.path().join("s"), node.path()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).expect("own directory");
    }
    let socket = node.file(SOCKET_NAME);
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).expect("own socket");
    let program = directory.path().join("caller");
    std::fs::copy(std::env::current_exe().expect("this test"), &program).expect("own directory");
    for (user, answered) in [(0, true), (NOBODY, false)] {
        let mut caller = tokio::process::Command::new(&program);
        caller.args([
            "--ignored",
            "--exact",
            "--nocapture",
            "control::tests::sec40_call_from_another_process",
        ]);
        caller.env(CALLED, &socket).current_dir("/").as_std_mut().uid(user);
        let output = caller.output().await.expect("starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said.contains("Ok(Changed("), answered, "uid {user}: {said}");
        assert_eq!(said.contains("Err(NotAccepted)"), !answered, "uid {user}: {said}");
    }
    server.abort();
}

#[tokio::test]
async fn sec43_a_message_at_the_limit_passes_and_one_past_it_takes_no_memory() {
    let text = "x".repeat(MESSAGE_BYTES_MAX - 2);
    let (mut near, mut far) = tokio::io::duplex(2 * MESSAGE_BYTES_MAX);
    write_message(&mut near, &text).await.expect("at the limit");
    assert_eq!(read_message::<String>(&mut far).await.expect("at the limit"), text);
    let refused = write_message(&mut near, &(text + "x")).await;
    assert!(matches!(refused, Err(ControlError::TooLong { found }) if found == MESSAGE_BYTES_MAX + 1));
    near.write_all(&u32::MAX.to_be_bytes()).await.expect("a length alone");
    assert!(matches!(read_message::<String>(&mut far).await, Err(ControlError::TooLong { .. })));
}

proptest! {
    #[test]
    fn sec44_any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let _ = runtime.block_on(read_message::<ControlRequest>(&mut &bytes[..]));
    }
}
