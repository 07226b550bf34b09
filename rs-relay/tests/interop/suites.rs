//! The suites that come with hyco-https, as they stand.

use rs_relay::proto::{AuthorizationRule, Right, Rules};
use rs_relay::server::Kinds;

use crate::peer::{Site, packages, script};
use crate::support::SEND_KEY;

async fn suite(name: &str, tests: usize) {
    let Some(folder) = packages() else { return };
    // The suites use one rule for both sides.
    let rule = AuthorizationRule::new("root".parse().unwrap(), [Right::Manage], SEND_KEY.parse().unwrap());
    let settings = rs_relay::server::EntitySettings::new().kinds(Kinds::Http);
    let site = Site::start_with(|builder| {
        builder.rules(Rules::new([rule]).unwrap()).entity("a2".parse().unwrap(), settings)
    });
    let Some(site) = site.await else { return };
    let mut node = site.node();
    node.arg(script("official.js")).arg(folder.join("hyco-https/tests").join(name));
    node.env("SB_HC_NAMESPACE", "localhost").env("SB_HC_PATH", "a2");
    node.env("SB_HC_KEYRULE", "root").env("SB_HC_KEY", SEND_KEY);
    node.env("RELAY_PORT", site.relay.authority.port().to_string());
    let output = node.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let last: serde_json::Value = serde_json::from_str(said.trim_end().lines().last().unwrap()).unwrap();
    assert_eq!((last["tests"].as_u64(), last["failed"].as_u64()), (Some(tests as u64), Some(0)), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn get() {
    suite("get.test.js", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn post() {
    suite("post.test.js", 25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunkedpost() {
    suite("chunkedpost.test.js", 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipe() {
    suite("pipe.test.js", 8).await;
}
