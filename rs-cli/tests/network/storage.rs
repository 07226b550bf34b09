//! A bundle of diagnostic data goes to the storage by HTTPS, through squid.

use crate::azurite::Azurite;
use crate::machine::chmod;
use crate::site::{GOOD, RELAY, STORAGE, Site, squid_with_basic};

#[test]
fn e06_r17_a_bundle_goes_by_https_through_squid_with_basic() {
    let Some(squid) = squid_with_basic("") else { return };
    let mut site = Site::new(RELAY);
    let Some(azurite) = Azurite::start_tls(&site.machine.work(), STORAGE) else { return };
    site.credentials(GOOD);
    let url = site.machine.file("url");
    std::fs::write(&url, azurite.url()).expect("own directory");
    chmod(&url, 0o600);
    let _printed = site.machine.json("diagnostic-data destination set --sas-url-file url");
    let (proxy, authority) = (squid.url().to_string(), site.machine.file("azurite-ca.pem"));
    let authority = authority.to_str().expect("text");
    let way = ["--proxy", &*proxy, "--proxy-credentials-file", "proxy"];
    site.start_agent_with(&way, &[("SSL_CERT_FILE", authority)]);
    site.machine.enable("Diagnostics --require-approval never");
    site.connected(1);
    let send = ["--command", "Send-DiagnosticData Facts"];
    let run = site.machine.run_args(["connect"].into_iter().chain(way).chain(send));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(azurite.blobs().len(), 2, "the bundle and its manifest: nobody but squid knows the way");
    let bundles = site.machine.json("diagnostic-data list");
    let id = bundles[0]["bundleId"].as_str().expect("an id");
    let name = azurite.blobs().into_iter().find(|name| name.ends_with("bundle.tar.gz")).expect("there");
    let arrived = azurite.blob(&name).expect("there");
    std::fs::write(site.machine.file("arrived.tar.gz"), arrived).expect("own directory");
    let verified = site.machine.run(&format!("diagnostic-data verify {id} --archive arrived.tar.gz"));
    assert_eq!(verified.code, 0, "byte for byte: {}", verified.stderr);
    site.holds_nowhere("secret");
}
