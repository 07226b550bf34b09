//! Logs leave only as the operator has set: real logs of this machine, a real storage service, every byte compared.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rs_cli::blob::{ATTEMPTS_MAX, BLOCK_BYTES, BlobCourier};
use rs_cli::network::Way;
use rs_cli::state::Role;
use rs_consent::Sha256;
use rs_session::bundle::{Archive, Manifest, Part, pack, verify};
use rs_session::host::{Courier as _, Parcel};
use rs_session::record::{ApprovalStep, Content};
use serde_json::Value;
use uuid::Uuid;

use crate::azurite::Azurite;
use crate::daemon::until;
use crate::machine::chmod;
use crate::records;
use crate::site::{Site, session_of};

const LINE: &str = "Send-DiagnosticData -FilterByRole Packages, Facts, RemoteSupportAgent";

fn site(enable: &str) -> Site {
    let site = Site::started();
    site.papers();
    site.machine.enable(enable);
    site.connected();
    site
}

fn secret_file(site: &Site, name: &str, text: &str) -> PathBuf {
    let path = site.machine.file(name);
    std::fs::write(&path, text).expect("own directory");
    chmod(&path, 0o600);
    path
}

/// Lets bundles go to this URL.
fn set(site: &Site, url: &str) -> Value {
    secret_file(site, "url", url);
    site.machine.json("diagnostic-data destination set --sas-url-file url")
}

fn bundles(site: &Site) -> Vec<Value> {
    site.machine.json("diagnostic-data list").as_array().expect("a list").clone()
}

fn contents(site: &Site, session: Uuid) -> Vec<Content> {
    assert_eq!(site.machine.run(&format!("session verify {session}")).code, 0);
    records::frames(&site.record(session)).iter().filter_map(records::content).collect()
}

/// The question about a release that waits.
#[track_caller]
fn release(site: &Site) -> (String, Value) {
    until("a release waits", || {
        let listed = site.machine.json("session approvals");
        let one = listed.as_array()?.iter().find(|one| one["subject"] == "release")?.clone();
        Some((one["approvalId"].as_str()?.to_owned(), one))
    })
}

/// The names of a bundle's files at its destination.
fn names(bundle: &Value) -> (String, String) {
    let folder = format!(
        "{}/{}",
        bundle["supportRequest"].as_str().expect("text"),
        bundle["bundleId"].as_str().expect("text")
    );
    (format!("{folder}/bundle.tar.gz"), format!("{folder}/manifest.json"))
}

#[test]
fn e06_sec35_without_a_destination_a_bundle_stays_on_the_node_and_an_altered_byte_is_found() {
    let site = site("Diagnostics");
    let run = site.machine.run_args(["connect", "--command", LINE]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("It stays on the node"), "{}", run.stderr);
    assert!(run.stderr.contains("usr/lib/os-release") && run.stderr.contains("sha256"), "{}", run.stderr);
    let bundle = bundles(&site).remove(0);
    assert_eq!(bundle["left"], false);
    let id = bundle["bundleId"].as_str().expect("an id");
    let shown = site.machine.json(&format!("diagnostic-data show {id}"));
    let parts = shown["manifest"]["parts"].as_array().expect("parts").clone();
    assert!(parts.iter().any(|part| part["name"] == "proc/meminfo"), "{parts:?}");
    assert_eq!(site.machine.run(&format!("diagnostic-data verify {id}")).code, 0);

    // The manifest on record is the one on disk.
    let folder = site.role(Role::Node).join("diagnostic-data").join(id);
    let manifest = Sha256::of(&std::fs::read(folder.join("manifest.json")).expect("there"));
    let record = format!(
        "{:?}",
        contents(
            &site,
            site.records()[0].file_stem().expect("named").to_str().expect("text").parse().expect("an id")
        )
    );
    assert!(record.contains(&manifest.to_string()), "{record}");

    // The report of the request names it, with what anybody needs to hold it against a copy.
    let number = bundle["supportRequest"].as_str().expect("a number");
    let archive = folder.join("bundle.tar.gz");
    let reported = site.machine.json(&format!("request report {number}"))["diagnosticData"][0].clone();
    let packed = std::fs::read(&archive).expect("there");
    assert_eq!((&reported["id"], &reported["bytes"]), (&id.into(), &packed.len().into()), "{reported}");
    assert_eq!(reported["sha256"], Sha256::of(&packed).to_string());
    assert_eq!(reported["manifestSha256"], manifest.to_string());
    assert_eq!((&reported["path"], &reported["sent"]), (&folder.display().to_string().into(), &Value::Null));
    let text = site.machine.run(&format!("request report {number}")).stdout;
    assert!(
        text.contains(&format!("Diagnostic data: {id}")) && text.contains("stayed on the node"),
        "{text}"
    );

    let mut bytes = std::fs::read(&archive).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&archive, bytes).expect("own file");
    let altered = site.machine.run(&format!("diagnostic-data verify {id}"));
    assert_eq!(altered.code, 6, "{}", altered.stderr);
    assert_eq!(site.machine.run(&format!("diagnostic-data remove {id}")).code, 0);
    assert_eq!(site.machine.run(&format!("diagnostic-data verify {id}")).code, 4);
}

#[test]
fn sec35_sec34_what_arrives_is_what_the_manifest_says_and_only_after_the_operators_yes() {
    let mut site = site("Diagnostics");
    let Some(azurite) = Azurite::start(&site.machine.work()) else { return };
    // A line with a secret in a log that is collected.
    std::fs::create_dir_all("/var/log/remote-support").expect("root may");
    let log = PathBuf::from(format!("/var/log/remote-support/test-{}.log", Uuid::new_v4().simple()));
    std::fs::write(&log, "started\npassword=Tr0ub4dor&3-and-more\nready\n").expect("root may");
    let url = azurite.url();
    let signature = url.split_once("sig=").expect("signed").1.to_owned();
    let set = set(&site, &url);
    assert!(set["destination"].as_str().is_some_and(|place| place.ends_with("/logs")), "{set}");

    // No.
    let engineer = site.engineer([LINE]);
    let (id, asked) = release(&site);
    assert!(azurite.blobs().is_empty(), "nothing leaves before the answer");
    assert!(
        asked["details"]["manifest"]["parts"].as_array().is_some_and(|parts| !parts.is_empty()),
        "{asked}"
    );
    assert_eq!(site.machine.run(&format!("session decline {id}")).code, 0);
    let mut engineer = engineer;
    assert_eq!(engineer.exit_code(), 3, "{}", engineer.stderr());
    assert!(engineer.stderr().contains("the bundle stays on the node"), "{}", engineer.stderr());
    assert!(azurite.blobs().is_empty(), "declined, so it did not leave");
    assert_eq!(bundles(&site)[0]["left"], false);

    // Yes.
    let mut engineer = site.engineer([LINE]);
    let session = session_of(&engineer);
    let (id, _) = release(&site);
    assert_eq!(site.machine.run(&format!("session approve {id}")).code, 0);
    assert_eq!(engineer.exit_code(), 0, "{}", engineer.stderr());
    let bundle = bundles(&site).into_iter().find(|bundle| bundle["left"] == true).expect("it left");
    let (archive_name, manifest_name) = names(&bundle);
    let mut there = azurite.blobs();
    there.sort();
    assert_eq!(there, [archive_name.clone(), manifest_name.clone()], "the case is in every name (Q06)");
    let (archive, manifest) =
        (azurite.blob(&archive_name).expect("there"), azurite.blob(&manifest_name).expect("there"));
    let folder =
        site.role(Role::Node).join("diagnostic-data").join(bundle["bundleId"].as_str().expect("an id"));
    assert_eq!(archive, std::fs::read(folder.join("bundle.tar.gz")).expect("there"), "byte for byte");
    assert_eq!(manifest, std::fs::read(folder.join("manifest.json")).expect("there"));
    let parsed = Manifest::decode(&manifest).expect("a manifest");
    assert_eq!(verify(&parsed, &archive), []);
    let record = contents(&site, session);
    let (manifest_sha, archive_sha) = (Sha256::of(&manifest).to_string(), Sha256::of(&archive).to_string());
    let asked = record.iter().position(|content| {
        matches!(content, Content::Approval(approval) if matches!(&approval.step, ApprovalStep::Asked { details, .. }
            if details["manifestSha256"] == manifest_sha.as_str() && details["manifest"]["archive"]["sha256"] == archive_sha.as_str()))
    });
    let arrived = record
        .iter()
        .position(|content| matches!(content, Content::Note(note) if note.text.contains("Arrived at")));
    assert!(asked.expect("asked is on record") < arrived.expect("arrived is on record"));

    // The report says which of the two left, to where and by whose Yes, and not with what credential.
    let number = bundle["supportRequest"].as_str().expect("a number");
    let report = site.machine.run(&format!("request report {number} --output json")).stdout;
    let told: Value = serde_json::from_str(&report).expect("JSON");
    let told = told["diagnosticData"].as_array().expect("a list");
    let sent: Vec<&Value> = told.iter().filter(|told| !told["sent"].is_null()).collect();
    assert_eq!((told.len(), sent.len()), (2, 1), "{report}");
    assert_eq!(
        (&sent[0]["id"], &sent[0]["sent"]["destination"]),
        (&bundle["bundleId"], &bundle["destination"])
    );
    assert_eq!(sent[0]["sent"]["approvedBy"], bundle["approvedBy"]);
    assert!(!report.contains(&signature), "the credential stays where it is");

    // An altered copy is found by the owner's own manifest.
    let id = bundle["bundleId"].as_str().expect("an id");
    let copy = site.machine.file("copy.tar.gz");
    std::fs::write(&copy, &archive).expect("own directory");
    assert_eq!(site.machine.run(&format!("diagnostic-data verify {id} --archive copy.tar.gz")).code, 0);
    let mut altered = archive;
    let at = altered.len() / 3;
    altered[at] ^= 0x80;
    std::fs::write(&copy, &altered).expect("own directory");
    assert_eq!(site.machine.run(&format!("diagnostic-data verify {id} --archive copy.tar.gz")).code, 6);

    // The secret of the log is masked, and counted.
    let name = log.strip_prefix("/").expect("absolute").to_str().expect("text");
    let part = parsed.parts.iter().find(|part| part.name == name).expect("the log is in it");
    assert!(part.masked >= 1, "{part:?}");
    let unpacked = std::process::Command::new("tar")
        .args(["xzOf"])
        .arg(folder.join("bundle.tar.gz"))
        .arg(name)
        .output()
        .expect("tar");
    let text = String::from_utf8_lossy(&unpacked.stdout).into_owned();
    assert!(text.contains("started") && text.contains("ready") && !text.contains("Tr0ub4dor"), "{text}");

    // What left is said when access is revoked (C22), and the signature is nowhere but in its file.
    let off = site.machine.run("disable");
    assert!(
        off.stderr.contains("left this node before") && off.stderr.contains(&archive_name),
        "{}",
        off.stderr
    );
    let agent = site.agent().stderr();
    for (path, content) in site.machine.state_files() {
        let is_its_file = path.ends_with("node/diagnostic-data.url");
        let has = content.windows(signature.len()).any(|window| window == signature.as_bytes());
        assert_eq!(has, is_its_file, "{}", path.display());
    }
    for told in [&off.stderr, &off.stdout, &agent, &engineer.stderr(), &engineer.stdout()] {
        assert!(!told.contains(&signature), "{told}");
    }
    let _ = std::fs::remove_file(&log);
}

#[test]
fn sec35_a_release_that_waits_when_access_is_revoked_leaves_nothing() {
    let site = site("Diagnostics");
    let Some(azurite) = Azurite::start(&site.machine.work()) else { return };
    set(&site, &azurite.url());
    let mut engineer = site.engineer([LINE]);
    let session = session_of(&engineer);
    let (id, _) = release(&site);
    assert_eq!(site.machine.run("disable").code, 0);
    assert_ne!(engineer.exit_code(), 0, "{}", engineer.stderr());
    let late = site.machine.run(&format!("session approve {id}"));
    assert_ne!(late.code, 0, "a yes that comes too late lets nothing leave: {}", late.stderr);
    assert!(azurite.blobs().is_empty(), "nothing left");
    assert!(bundles(&site).iter().all(|bundle| bundle["left"] == false), "{:?}", bundles(&site));
    let record = contents(&site, session);
    let went_on = |content: &Content| match content {
        Content::Approval(approval) => matches!(approval.step, ApprovalStep::Approved { .. }),
        Content::Note(note) => note.text.contains("Arrived at"),
        _ => false,
    };
    assert!(!record.iter().any(went_on), "{record:?}");
}

#[test]
fn sec33_a_wrong_signature_is_a_clear_error_without_the_secret() {
    let site = site("Diagnostics --require-approval never");
    let Some(azurite) = Azurite::start(&site.machine.work()) else { return };
    let url = format!(
        "{}WRONG",
        azurite.url().split_once("sig=").expect("signed").0.to_owned() + "sig=c2VjcmV0LXRoYXQtaXM"
    );
    set(&site, &url);
    let run = site.machine.run_args(["connect", "--command", "Send-DiagnosticData Facts"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(
        run.stderr.contains("status 403") && run.stderr.contains("the bundle stays on the node"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("c2VjcmV0") && !run.stdout.contains("c2VjcmV0"), "{}", run.stderr);
    assert_eq!(bundles(&site)[0]["left"], false);
    assert!(azurite.blobs().is_empty());
    let bad = site.machine.run("diagnostic-data destination set --sas-url-file missing");
    assert_eq!(bad.code, 4, "{}", bad.stderr);
    assert_eq!(site.machine.json("diagnostic-data destination clear")["destination"], Value::Null);
}

/// By HTTPS, and only to a storage whose certificate this machine trusts.
#[test]
fn e06_sec33_by_https_a_bundle_arrives_only_at_a_storage_that_is_trusted() {
    let mut site = Site::started();
    site.papers();
    site.machine.enable("Diagnostics --require-approval never");
    let Some(azurite) = Azurite::start_tls(&site.machine.work(), "127.0.0.1") else { return };
    set(&site, &azurite.url());
    let send = ["connect", "--command", "Send-DiagnosticData Facts"];
    site.connected();
    let run = site.machine.run_args(send);
    assert_eq!(run.code, 1, "the control: an authority that nobody trusts: {}", run.stderr);
    assert!(run.stderr.contains("certificate"), "{}", run.stderr);
    assert!(azurite.blobs().is_empty());

    let authority = site.machine.file("azurite-ca.pem");
    site.agent = None;
    site.start_agent_with(|command| {
        command.env("SSL_CERT_FILE", authority);
    });
    site.connected();
    let run = site.machine.run_args(send);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let bundle = bundles(&site).into_iter().find(|bundle| bundle["left"] == true).expect("it left");
    let folder =
        site.role(Role::Node).join("diagnostic-data").join(bundle["bundleId"].as_str().expect("an id"));
    let arrived = azurite.blob(&names(&bundle).0).expect("there");
    assert!(arrived == std::fs::read(folder.join("bundle.tar.gz")).expect("there"), "byte for byte");
}

#[test]
fn e06_a_line_that_breaks_is_tried_again_and_in_the_end_given_up() {
    let site = site("Diagnostics --require-approval never");
    let Some(azurite) = Azurite::start(&site.machine.work()) else { return };
    let (port, _) = azurite.behind_a_bad_line(2);
    set(&site, &azurite.url_at(port));
    let run = site.machine.run_args(["connect", "--command", "Send-DiagnosticData Facts"]);
    assert_eq!(run.code, 0, "two cuts are got over: {}", run.stderr);
    let bundle = bundles(&site).remove(0);
    assert_eq!((&bundle["left"], &bundle["approvedBy"]), (&true.into(), &"consent".into()));
    assert!(azurite.blob(&names(&bundle).0).is_some());

    let (port, seen) = azurite.behind_a_bad_line(usize::MAX);
    set(&site, &azurite.url_at(port));
    let run = site.machine.run_args(["connect", "--command", "Send-DiagnosticData Facts"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("not reached after 4 attempts"), "{}", run.stderr);
    assert_eq!(seen.load(Ordering::SeqCst), ATTEMPTS_MAX as usize);
    let last = bundles(&site).remove(0);
    assert_eq!(last["left"], false);
    assert!(azurite.blob(&names(&last).0).is_none(), "no half of it appears");
}

#[test]
fn sec35_a_bundle_of_several_blocks_arrives_byte_for_byte() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(azurite) = Azurite::start(directory.path()) else { return };
    let file = directory.path().join("url");
    std::fs::write(&file, azurite.url()).expect("own directory");
    chmod(&file, 0o600);
    let mut noise = 1_u64;
    let part: Vec<u8> = std::iter::repeat_with(|| {
        // xorshift: nothing that a packer makes smaller.
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise.to_le_bytes()[3]
    })
    .take(2 * BLOCK_BYTES + 12345)
    .collect();
    let archive = pack([("noise", &part[..])]).expect("packed");
    assert!(archive.len() > 2 * BLOCK_BYTES);
    let manifest = Manifest {
        bundle_id: Uuid::new_v4(),
        collected_at: "2026-01-02T03:04:05Z".parse().expect("a date"),
        node: "node-01".into(),
        session_id: Uuid::new_v4(),
        engineer: "engineer@support.example".into(),
        support_request: "2601020304050607".parse().expect("a number"),
        grant_id: rs_consent::GrantId::new(Uuid::new_v4()),
        parts: vec![Part {
            name: "noise".into(),
            bytes: part.len() as u64,
            sha256: Sha256::of(&part),
            masked: 0,
            cut: false,
        }],
        archive: Archive { bytes: archive.len() as u64, sha256: Sha256::of(&archive) },
    };
    let bytes = manifest.encode().expect("JSON");
    let courier = Arc::new(BlobCourier::new(file, Way::direct()));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (progress, mut lines) = tokio::sync::mpsc::channel(16);
    let delivered = runtime.block_on(courier.deliver(Parcel::new(&manifest, &bytes, &archive), progress));
    let place = delivered.expect("it arrives");
    assert!(place.ends_with("bundle.tar.gz") && !place.contains("sig="), "{place}");
    let told = std::iter::from_fn(|| lines.try_recv().ok()).count();
    assert_eq!(told, 3, "one line for each block");
    let name = format!("{}/{}/bundle.tar.gz", manifest.support_request, manifest.bundle_id);
    let arrived = azurite.blob(&name).expect("there");
    assert_eq!(verify(&manifest, &arrived), []);
    assert!(arrived == archive, "byte for byte");
}
